package boards

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write deploy/grafana and the table of docs/operations.md anew")

const (
	top   = "../.."
	files = top + "/deploy/grafana"
	rules = top + "/deploy/prometheus"
	docs  = top + "/docs/operations.md"
)

// TestFilesAreUpToDate: what is in deploy/grafana is what this package says, and nothing else is there.
func TestFilesAreUpToDate(t *testing.T) { // not in parallel: with -update it writes what others read
	var names []string
	for _, b := range All() {
		names = append(names, b.File)
		file := filepath.Join(files, b.File)
		text, err := b.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(file, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%s is not up to date (%v); go test ./internal/boards -update", file, err)
		}
	}
	there, err := filepath.Glob(files + "/*.json")
	if err != nil || len(there) != len(names) {
		t.Errorf("%q are there, want %q: %v", there, names, err)
	}
}

// parsed is a dashboard as it lies there; an unknown field is an error.
func parsed(t *testing.T, file string) (d dashboard) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(files, file))
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return d
}

// TestDashboards holds the files to what Grafana and people expect.
func TestDashboards(t *testing.T) {
	t.Parallel()
	uids := make(map[string]bool)
	for _, b := range All() {
		d := parsed(t, b.File)
		if uids[d.UID] || d.SchemaVersion < 39 || !strings.HasSuffix(d.Description, ".") {
			t.Errorf("%s: UID %q, schema %d, description %q", b.File, d.UID, d.SchemaVersion, d.Description)
		}
		uids[d.UID] = true
		if v := d.Templating.List[0]; v.Name != datasource || v.Type != "datasource" || v.Query != "prometheus" {
			t.Errorf("%s: the first variable is no data source: %+v", b.File, v)
		}
		checkGrid(t, b.File, d.Panels)
		for _, p := range d.Panels {
			if p.Type != "row" {
				checkPanel(t, b.File, p)
			}
		}
	}
}

func checkPanel(t *testing.T, file string, p panel) {
	t.Helper()
	what := fmt.Sprintf("%s: %s", file, p.Title)
	if p.Title == "" || !strings.HasSuffix(p.Description, ".") || strings.ToUpper(p.Description[:1]) != p.Description[:1] {
		t.Errorf("%s: the description is no sentence: %q", what, p.Description)
	}
	if p.FieldConfig == nil || p.FieldConfig.Defaults.Unit == "" {
		t.Errorf("%s has no unit", what)
	}
	if p.Datasource == nil || *p.Datasource != prometheus() || len(p.Targets) == 0 {
		t.Errorf("%s: data source %+v, %d questions", what, p.Datasource, len(p.Targets))
	}
	for _, q := range p.Targets {
		if q.Datasource != prometheus() || q.Expr == "" || strings.Contains(q.Expr, "vector(0)") {
			t.Errorf("%s: %+v", what, q)
		}
	}
}

// checkGrid: ids are unique, and no panel lies over another or beyond the edge.
func checkGrid(t *testing.T, file string, panels []panel) {
	t.Helper()
	for i, p := range panels {
		g := p.GridPos
		if g.X < 0 || g.X+g.W > columns || g.W < 1 || g.H < 1 {
			t.Errorf("%s: %s lies at %+v", file, p.Title, g)
		}
		for _, o := range panels[:i] {
			if o.ID == p.ID {
				t.Errorf("%s: %s and %s have the id %d", file, p.Title, o.Title, p.ID)
			}
			h := o.GridPos
			if g.X < h.X+h.W && h.X < g.X+g.W && g.Y < h.Y+h.H && h.Y < g.Y+g.H {
				t.Errorf("%s: %s at %+v lies over %s at %+v", file, p.Title, g, o.Title, h)
			}
		}
	}
}

func programs(t *testing.T) []Golden {
	t.Helper()
	var out []Golden
	for _, p := range []string{Agent, Cache} {
		g, err := ReadGolden(top, p)
		if err != nil || len(g) < 10 {
			t.Fatalf("%s has %d metrics: %v", p, len(g), err)
		}
		out = append(out, g)
	}
	return out
}

// allRules are those of every file in deploy/prometheus, and the names that they record.
func allRules(t *testing.T) (all []Rule, recorded []string) {
	t.Helper()
	for _, file := range []string{"dunlin.rules.yml", "dunlin.alerts.yml"} {
		r, err := ReadRules(filepath.Join(rules, file))
		if err != nil || len(r) == 0 {
			t.Fatalf("%s has %d rules: %v", file, len(r), err)
		}
		all = append(all, r...)
	}
	for _, r := range all {
		if r.Record != "" {
			recorded = append(recorded, r.Record)
		}
	}
	return all, recorded
}

// TestQueriesNameWhatThereIs: no panel and no rule asks for a metric, a label or a value that no program has.
func TestQueriesNameWhatThereIs(t *testing.T) {
	t.Parallel()
	known := programs(t)
	all, recorded := allRules(t)
	for _, r := range all {
		if r.Expr == "" {
			t.Errorf("%s%s asks nothing", r.Record, r.Alert)
		}
		for _, wrong := range Check(r.Expr, recorded, known...) {
			t.Errorf("%s%s: %s", r.Record, r.Alert, wrong)
		}
	}
	for _, b := range All() {
		d := parsed(t, b.File)
		for _, v := range b.Variables {
			for _, wrong := range Check(v.Metric, recorded, known...) {
				t.Errorf("%s: $%s: %s", b.File, v.Name, wrong)
			}
		}
		for _, p := range d.Panels {
			for _, q := range p.Targets {
				for _, wrong := range Check(q.Expr, recorded, known...) {
					t.Errorf("%s: %s: %s", b.File, p.Title, wrong)
				}
			}
		}
	}
}

// TestCheckFindsMistakes: else the test above says nothing.
func TestCheckFindsMistakes(t *testing.T) {
	t.Parallel()
	known := programs(t)
	for expr, wrong := range map[string]string{
		`sum(rate(dunlin_origin_bytes_total{reason="own",site=~"$site"}[5m]))`: "",
		`histogram_quantile(0.9, dunlin_download_duration_seconds_bucket)`:     "",
		`site:dunlin_x:sum{site="a"} > on () group_left () dunlin:y`:           "",
		`sum(rate(dunlin_origin_byte_total[5m]))`:                              "there is no metric dunlin_origin_byte_total",
		`dunlin_peers_bucket`:                                                       "there is no metric dunlin_peers_bucket",
		`site:dunlin_z:sum`:                                                         "there is no metric site:dunlin_z:sum",
		`dunlin_origin_bytes_total{cause="own"}`:                                    "dunlin_origin_bytes_total has no label cause",
		`dunlin_received_bytes_total{use=~"useful|used"}`:                           `use is never "used" in dunlin_received_bytes_total`,
		`sum by (device) (dunlin_peers)`:                                            "no metric has the label device",
		`node_load1{instance="a"}`:                                                  "there is no metric node_load1",
		`label_replace(dunlin_peers, "a", "dunlin_no_metric", "scope", "(.*)")`:     "",
		`sum by (site, state) (dunlin_updates{state!="installed"}) and up{job="x"}`: "",
	} {
		got := strings.Join(Check(expr, []string{"site:dunlin_x:sum", "dunlin:y"}, known...), "; ")
		if got != wrong {
			t.Errorf("%s: %q, want %q", expr, got, wrong)
		}
	}
}

// TestTheTable: the documentation lists every metric with its labels and what they say.
func TestTheTable(t *testing.T) { // not in parallel: with -update it writes what others read
	const begin, end = "<!-- metrics: written by go test ./internal/boards -update -->\n", "<!-- end of metrics -->\n"
	want, err := Table(top)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	got, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", docs)
	}
	if *update {
		got = want
		if err := os.WriteFile(docs, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got != want {
		t.Errorf("the table in %s is not up to date; go test ./internal/boards -update", docs)
	}
}

// TestAlertsAreExplained: every alert has a test of its own and stands in the documentation.
func TestAlertsAreExplained(t *testing.T) {
	t.Parallel()
	all, _ := allRules(t)
	text, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile(filepath.Join(rules, "dunlin.test.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var alerts []string
	for _, r := range all {
		if r.Alert == "" {
			continue
		}
		alerts = append(alerts, r.Alert)
		if !strings.Contains(string(text), "`"+r.Alert+"`") {
			t.Errorf("%s is not in %s", r.Alert, docs)
		}
		if n := strings.Count(string(tests), "alertname: "+r.Alert+"\n"); n < 2 {
			t.Errorf("%s is tested %d times, want that it fires and that it does not", r.Alert, n)
		}
	}
	if len(alerts) < 7 || len(slices.Compact(slices.Sorted(slices.Values(alerts)))) != len(alerts) {
		t.Errorf("alerts: %q", alerts)
	}
}
