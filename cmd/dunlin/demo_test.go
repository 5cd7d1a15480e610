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
		Result:   &demo.Result{Devices: []demo.Device{{Name: "device-1", Addr: "127.1.2.11"}, {Name: "device-2", Addr: "127.1.2.12"}}},
		Controls: []string{"/d/1/control.sock", "/d/2/control.sock"},
	})
	for _, want := range []string{
		"device-1  metrics http://127.1.2.11:9680/metrics, status: dunlin status --control /d/1/control.sock\n",
		"device-2  metrics http://127.1.2.12:9680/metrics, status: dunlin status --control /d/2/control.sock\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}
