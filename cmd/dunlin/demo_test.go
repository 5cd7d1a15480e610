package main

import (
	"strings"
	"testing"

	"github.com/dunlin-project/dunlin/internal/demo"
)

// TestPlacesLeadToTheAgents: the agents of a demonstration listen on sockets that their configuration files do not name.
func TestPlacesLeadToTheAgents(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	printPlaces(&b, &demo.Running{
		Cache: "http://127.1.2.3:4001",
		Pages: []demo.Page{
			{Name: "device-1", Page: "http://127.1.2.11:7681/", Metrics: "http://127.1.2.11:9680/metrics", Control: "/d/1/control.sock"},
			{Name: "cache node", Page: "http://127.1.2.3:4003/", Metrics: "http://127.1.2.3:4002/metrics"},
		},
	})
	for _, want := range []string{
		"  cache       http://127.1.2.3:4001/content/ROOT\n",
		"  device-1    http://127.1.2.11:7681/  metrics: http://127.1.2.11:9680/metrics\n" +
			"              dunlin status --control /d/1/control.sock\n",
		"  cache node  http://127.1.2.3:4003/  metrics: http://127.1.2.3:4002/metrics\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}
