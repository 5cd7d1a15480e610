package lab_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/dunlin-project/dunlin/e2e/lab"
)

// reaches reports whether packets go from a host to an address and back: a port where nobody listens says so.
func reaches(t *testing.T, from *lab.Host, addr string) bool {
	t.Helper()
	out, _ := from.Run(t.Context(), nil, "timeout", "1", "bash", "-c", "exec 3<>/dev/tcp/"+addr+"/1")
	return strings.Contains(out, "refused")
}

// TestACutLinkCarriesNothing, and a mended one all again.
func TestACutLinkCarriesNothing(t *testing.T) {
	var maker lab.Maker
	l := maker.New(t)
	a, b := l.Host(lab.Options{}), l.Host(lab.Options{})
	a.Cut()
	if reaches(t, b, a.Addr) {
		t.Error("a host is reached whose link is cut")
	}
	a.Mend()
	a.Shape("10mbit")
	for try := 1; !reaches(t, b, a.Addr); try++ { // a neighbour that was away is asked for again only after a while
		if try == 10 {
			t.Fatal("a host is not reached whose link was mended")
		}
	}
}

// TestRouter: two networks reach each other over a host that stands in both, once it forwards.
func TestRouter(t *testing.T) {
	var maker lab.Maker
	one, two := maker.New(t), maker.NewNet(t, 1)
	a, router, b := one.Host(lab.Options{}), one.Host(lab.Options{}), two.Host(lab.Options{})
	a.Route(router.Addr)
	b.Route(two.Join(router, lab.Options{}))
	if reaches(t, a, b.Addr) {
		t.Error("there is a way before there is a router")
	}
	router.Forward()
	if !reaches(t, a, b.Addr) {
		t.Error("there is no way over the router")
	}
}

// TestTheDeafHearNoMulticast, and those beside them do.
func TestTheDeafHearNoMulticast(t *testing.T) {
	var maker lab.Maker
	l := maker.New(t)
	from, deaf, other := l.Host(lab.Options{}), l.Host(lab.Options{}), l.Host(lab.Options{})
	deaf.Deafen()
	const sent = 200
	before := [2]int{received(t, deaf), received(t, other)}
	if out, err := from.Run(t.Context(), nil, "bash", "-c", "for i in {1..200}; do echo x >/dev/udp/224.0.0.251/5353; done"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if n := received(t, deaf) - before[0]; n >= sent {
		t.Errorf("the deaf host received %d packets", n)
	}
	if n := received(t, other) - before[1]; n < sent {
		t.Errorf("the other host received %d packets, want at least %d", n, sent)
	}
}

// received is the number of packets that came to a host.
func received(t *testing.T, h *lab.Host) int {
	t.Helper()
	var links []struct {
		Stats struct {
			Rx struct{ Packets int }
		} `json:"stats64"`
	}
	out, err := h.Run(t.Context(), nil, "ip", "-s", "-j", "link", "show", "dev", "eth0")
	if err == nil {
		err = json.Unmarshal([]byte(out), &links)
	}
	if err != nil || len(links) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	return links[0].Stats.Rx.Packets
}
