// Package dashboards_test proves the dashboards of deploy/grafana and the rules of deploy/prometheus: a real Prometheus scrapes the
// devices and the cache node of a "dunlin demo --keep --load" while it publishes, prefetches and installs, and then every panel's
// query must return data, for each device. It trusts Prometheus, promtool and the access logs of the demonstration. Start reading at
// TestDashboards.
package dashboards_test
