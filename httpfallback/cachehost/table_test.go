package cachehost

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

func rootOf(i int) piecehash.Root {
	return piecehash.Root(sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i))))
}

func newHosts(t testing.TB, cfg Config) *Hosts {
	t.Helper()
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// bases are the nodes in the order in which they are asked.
func (h *Hosts) bases(now time.Time, root piecehash.Root) (out []string) {
	for _, o := range h.order(now, root) {
		out = append(out, strings.TrimPrefix(h.base(o), "http://"))
	}
	return out
}

// TestWhoIsAsked: whose word is taken, and who goes before whom.
func TestWhoIsAsked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		source Source
		static []string
		want   string
	}{
		"all":                         {Auto, []string{"http://s:1"}, "s:1 192.0.2.5:7681 d:1"},
		"the zero value":              {"", []string{"http://s:1"}, "s:1 192.0.2.5:7681 d:1"},
		"nothing set":                 {Auto, nil, "192.0.2.5:7681 d:1"},
		"only the settings":           {Static, []string{"http://s:1"}, "s:1"},
		"only the network":            {LAN, nil, "192.0.2.5:7681"},
		"only the organisation":       {Depot, nil, "d:1"},
		"none":                        {Off, nil, ""},
		"one that announces itself":   {Auto, []string{"http://192.0.2.5:7681/"}, "192.0.2.5:7681 d:1"},
		"one that was signed as well": {Auto, []string{"http://D:1"}, "d:1 192.0.2.5:7681"},
	} {
		h := newHosts(t, Config{Source: c.source, Static: c.static})
		h.Found("somebody", addr("192.0.2.5:7681"))
		h.SetDepot([]string{"http://d:1/", "no URL", "ftp://d"})
		if got := strings.Join(h.bases(time.Now(), rootOf(1)), " "); got != c.want {
			t.Errorf("%s: asked are %q, want %q", name, got, c.want)
		}
		if known := h.Known(); known != (c.want != "") {
			t.Errorf("%s: known %v", name, known)
		}
	}
}

func TestBadSettings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]Config{
		"no URL":            {Static: []string{"cache.example"}},
		"another scheme":    {Static: []string{"ftp://cache.example"}},
		"a password":        {Static: []string{"http://a:b@cache.example"}},
		"a query":           {Static: []string{"http://cache.example/?x"}},
		"named and not":     {Source: LAN, Static: []string{"http://cache.example"}},
		"more than anybody": {Static: slices.Repeat([]string{"http://cache.example"}, MaxHosts+1)},
	} {
		if h, err := New(c); !fault.Is(err, fault.Usage) {
			t.Errorf("%s: %v, %v", name, h, err)
		}
	}
	for word, ok := range map[string]bool{"": true, "auto": true, "lan": true, "static": true, "depot": true, "off": true, "LAN": false, "x": false} {
		if _, err := ParseSource(word); ok != (err == nil) {
			t.Errorf("source %q: %v", word, err)
		}
	}
}

// TestShares: each node has its share of the contents, everybody agrees on it, and when a node goes only its contents move.
func TestShares(t *testing.T) {
	t.Parallel()
	const contents, nodes = 3000, 3
	now := time.Now()
	a, b := newHosts(t, Config{}), newHosts(t, Config{})
	for i := range nodes {
		at := addr(fmt.Sprintf("192.0.2.%d:7681", i+1))
		a.heardOf(now, fmt.Sprintf("node-%d", i), at)
	}
	for i := range nodes { // the other has heard them in another order
		b.heardOf(now, fmt.Sprintf("node-%d", nodes-1-i), addr(fmt.Sprintf("192.0.2.%d:7681", nodes-i)))
	}
	share := make(map[string]int)
	first := make([][]string, contents)
	for i := range contents {
		first[i] = a.bases(now, rootOf(i))
		share[first[i][0]]++
		if other := b.bases(now, rootOf(i)); !slices.Equal(first[i], other) {
			t.Fatalf("content %d: one asks %v, the other %v", i, first[i], other)
		}
	}
	for base, n := range share {
		if n < contents/nodes*9/10 || n > contents/nodes*11/10 {
			t.Errorf("%s has %d of %d contents", base, n, contents)
		}
	}
	gone := first[0][0]
	for _, o := range a.order(now, rootOf(0)) {
		if a.base(o) == "http://"+gone {
			a.silent(now, o, nil)
		}
	}
	for i := range contents {
		if got, want := a.bases(now, rootOf(i)), slices.DeleteFunc(slices.Clone(first[i]), func(s string) bool { return s == gone }); !slices.Equal(got, want) {
			t.Fatalf("content %d: without one %v, want %v", i, got, want)
		}
	}
}

// TestAnnouncedNodesAreBounded, are forgotten when nobody hears them any more, and may move.
func TestAnnouncedNodesAreBounded(t *testing.T) {
	t.Parallel()
	h, now := newHosts(t, Config{}), time.Now()
	for i := range 10 * MaxHosts {
		h.heardOf(now, fmt.Sprint(i), addr("192.0.2.1:1"))
		h.heardOf(now, "0", netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 3, byte(i)}), 1))
	}
	h.mu.Lock()
	if n, m := len(h.found), len(h.found["0"].bases); n != MaxHosts || m > maxAddrs {
		t.Errorf("%d nodes, one of them at %d addresses", n, m)
	}
	h.mu.Unlock()
	now = now.Add(forgotten)
	h.heardOf(now, "0", addr("192.0.2.9:1"))
	now = now.Add(time.Second)
	h.heardOf(now, "another", addr("192.0.2.8:1"))
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.found) != 2 {
		t.Errorf("%d nodes are known, of two that were heard lately", len(h.found))
	}
}

// TestList says what is known of each node.
func TestList(t *testing.T) {
	t.Parallel()
	h, now := newHosts(t, Config{Static: []string{"http://s:1"}}), time.Now()
	h.heardOf(now, "node", addr("192.0.2.1:7681"))
	h.SetDepot([]string{"http://d:1"})
	for _, o := range h.order(now, rootOf(0)) {
		switch o.tier {
		case fromSettings:
			h.silent(now, o, nil)
		case fromLAN:
			h.ban(t.Context(), o, h.base(o), nil)
		}
	}
	got := h.List(now)
	want := []Node{{"http://s:1", Static, Silent, now}, {"http://192.0.2.1:7681", LAN, Dropped, now}, {"http://d:1", Depot, Ready, time.Time{}}}
	for i := range want {
		if len(got) != len(want) || got[i].Until.After(now) == want[i].Until.IsZero() {
			t.Fatalf("%+v", got)
		}
		if got[i].Until = want[i].Until; got[i] != want[i] {
			t.Errorf("%+v, want %+v", got[i], want[i])
		}
	}
}

// TestHowItIsStaysKnown: a new word of the organisation brings no dead node back.
func TestHowItIsStaysKnown(t *testing.T) {
	t.Parallel()
	h, now := newHosts(t, Config{}), time.Now()
	h.SetDepot([]string{"http://a:1", "http://b:1"})
	for _, o := range h.order(now, rootOf(0)) {
		if o.name == "http://a:1" {
			h.silent(now, o, nil)
		}
	}
	h.SetDepot([]string{"http://c:1", "http://a:1/"})
	if got := h.bases(now, rootOf(0)); !slices.Equal(got, []string{"c:1"}) {
		t.Errorf("asked are %v", got)
	}
}

// TestBans: what lied is not asked, by any name or port that it announces, and keeps no other node from being asked.
func TestBans(t *testing.T) {
	t.Parallel()
	h, now := newHosts(t, Config{Static: []string{"http://s:1", "http://s:2"}}), time.Now()
	h.heardOf(now, "good", addr("192.0.2.1:7681"))
	h.heardOf(now, "bad", addr("192.0.2.2:7681"))
	for _, o := range h.order(now, rootOf(0)) {
		if base := h.base(o); base == "http://192.0.2.2:7681" || base == "http://s:1" {
			h.ban(t.Context(), o, base, nil)
		}
	}
	h.heardOf(now, "another name", addr("192.0.2.2:7681"))
	h.heardOf(now, "bad", addr("192.0.2.2:9999"))
	h.heardOf(now, "good", addr("192.0.2.2:7681")) // an impostor takes a good one's name
	got := h.bases(now, rootOf(0))
	slices.Sort(got)
	if want := []string{"192.0.2.1:7681", "s:2"}; !slices.Equal(got, want) {
		t.Errorf("asked are %v, want %v", got, want)
	}
	if got := h.bases(now.Add(banTime+time.Minute), rootOf(0)); !slices.Contains(got, "s:1") {
		t.Errorf("after a day asked are %v", got)
	}
}
