package cachehost_test

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/httpfallback/cachehost"
)

// ear is a node that notes what it is told, and answers with a status.
type ear struct {
	*httptest.Server
	mu   sync.Mutex
	told []string
}

func newEar(t *testing.T, addr string, status int) *ear {
	t.Helper()
	e := new(ear)
	e.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.told = append(e.told, r.Method+" "+r.URL.String())
		w.WriteHeader(status)
	}))
	l, err := net.Listen("tcp", addr+":0")
	if err != nil {
		t.Skipf("this machine has no such address of loopback: %v", err)
	}
	e.Listener.Close()
	e.Listener = l
	e.Start()
	t.Cleanup(e.Close)
	return e
}

// heard returns what a node was told.
func (e *ear) heard() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.told)
}

func (e *ear) addr() netip.AddrPort { return netip.MustParseAddrPort(e.Listener.Addr().String()) }

// TestWhoIsToldOfAWrongPiece: the node that announces itself by the member's id, and what the settings or the organisation name at
// its address; nobody else.
func TestWhoIsToldOfAWrongPiece(t *testing.T) {
	t.Parallel()
	s := newStage(t, 4)
	want := []string{"POST /complain/" + s.m.Root().String() + "?piece=3"}
	near, far := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.9.8.7")
	for name, c := range map[string]struct {
		member             fetch.Joined
		static, depot, lan bool // who is told
	}{
		"by its id":                 {fetch.Joined{ID: "node", Addr: far}, false, false, true},
		"by its address":            {fetch.Joined{ID: "unheard", Addr: near}, true, false, false},
		"as seen by IPv6":           {fetch.Joined{ID: "unheard", Addr: netip.MustParseAddr("::ffff:127.0.0.1")}, true, false, false},
		"by what was signed":        {fetch.Joined{ID: "unheard", Addr: netip.MustParseAddr("127.0.0.2")}, false, true, false},
		"nobody knows it":           {fetch.Joined{ID: "unheard", Addr: far}, false, false, false},
		"it has no address":         {fetch.Joined{ID: "unheard"}, false, false, false},
		"by its id and its address": {fetch.Joined{ID: "node", Addr: near}, true, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			static, depot, deaf, lan := newEar(t, "127.0.0.1", 202), newEar(t, "127.0.0.2", 202), newEar(t, "127.0.0.3", 404), newEar(t, "127.0.0.4", 202)
			_, port, _ := net.SplitHostPort(static.Listener.Addr().String())
			h, err := cachehost.New(cachehost.Config{Static: []string{"http://localhost:" + port}, Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			h.SetDepot([]string{depot.URL})
			h.Found("node", deaf.addr()) // an address that does not hear any more
			h.Found("node", lan.addr())
			h.Found("another", newEar(t, "127.0.0.5", 202).addr())
			v := h.NewVia(s.m.Content, nil)
			v.Wronged(c.member, 3)
			if err := v.Close(); err != nil {
				t.Error(err)
			}
			for who, is := range map[*ear]bool{static: c.static, depot: c.depot, lan: c.lan} {
				if got := who.heard(); is != slices.Equal(got, want) || !is && len(got) != 0 {
					t.Errorf("%s was told %q, want %v", who.URL, got, is)
				}
			}
		})
	}
}

// TestAComplaintComesFirst: a node that a member's wrong piece may be of is asked by HTTP only after it was told, and one that
// hears nothing holds nobody up for long.
func TestAComplaintComesFirst(t *testing.T) {
	t.Parallel()
	s := newStage(t, 4)
	var mu sync.Mutex
	var asked []string
	node := newWeb(t, s.m, s.data, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost {
			time.Sleep(100 * time.Millisecond)
			w.WriteHeader(http.StatusAccepted)
		}
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.Method)
		return r.Method == http.MethodPost
	})
	h := s.hosts(t, node.URL)
	v := h.NewVia(s.m.Content, nil)
	defer v.Close()
	v.Linked(1)
	v.Wronged(fetch.Joined{ID: "node", Addr: netip.MustParseAddr("127.0.0.1")}, 2)
	v.Linked(0)
	if err := v.Fetch(t.Context(), 0, 4, fetch.Own, &fetchtest.Sink{M: s.m}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(asked, " "); got != "POST HEAD GET" {
		t.Errorf("the node was asked %s", got)
	}
	h.Close()
	v.Wronged(fetch.Joined{ID: "node", Addr: netip.MustParseAddr("127.0.0.1")}, 2) // nobody is told any more
}
