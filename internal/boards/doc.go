// Package boards has the dashboards of deploy/grafana as Go: what each panel asks of Prometheus, and what it says to people. Its
// test writes the files (go test ./internal/boards -update) and holds them, the rules of deploy/prometheus and the table of
// docs/operations.md to the metrics that the programs have.
//
// It knows nothing of the programs but the golden files of their metrics. Start reading at All, then Board.
package boards
