// Package dashboards_test proves the dashboards of deploy/grafana and the rules of deploy/prometheus: a real Prometheus scrapes a
// site of real processes (three devices, a cache node, a depot, nginx as origin) while it publishes, prefetches and installs, and
// then every panel's query must return data. It trusts Prometheus, promtool and nginx's access log. Start reading at
// TestDashboards.
package dashboards_test
