package discover

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/dunlin-project/dunlin/swarm/conn"
	"github.com/dunlin-project/dunlin/swarm/group"
)

const testID = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"

func TestParseTexts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		texts []string
		ok    bool
	}{
		"good":             {[]string{"v=1", "g=tag", "p=" + testID}, true},
		"more, of later":   {[]string{"x=y", "v=1", "g=tag", "p=" + testID, "z"}, true},
		"nothing":          {nil, false},
		"no version":       {[]string{"g=tag", "p=" + testID}, false},
		"another version":  {[]string{"v=2", "g=tag", "p=" + testID}, false},
		"version twice":    {[]string{"v=1", "v=1", "g=tag", "p=" + testID}, false},
		"no group":         {[]string{"v=1", "p=" + testID}, false},
		"no id":            {[]string{"v=1", "g=tag"}, false},
		"no peer id":       {[]string{"v=1", "g=tag", "p=somebody"}, false},
		"a long id":        {[]string{"v=1", "g=tag", "p=" + strings.Repeat("1", 60_000)}, false},
		"ids without end":  {append([]string{"v=1", "g=tag"}, many("p="+testID, 1000)...), false},
		"texts, id at end": {append(many("x=y", 1000), "v=1", "g=tag", "p="+testID), false},
	} {
		id, tag, ok := parseTexts(c.texts)
		if ok != c.ok || ok && (tag != "tag" || id.String() != testID) {
			t.Errorf("%s: %v %q %v", name, id, tag, ok)
		}
	}
}

func many(s string, n int) (out []string) {
	for range n {
		out = append(out, s)
	}
	return out
}

// testLinks are two interfaces: 192.0.2.7/24 with 2001:db8::7/64, and 10.1.0.9/30.
func testLinks(t *testing.T) onLink {
	t.Helper()
	var on onLink
	for _, s := range []string{"192.0.2.7/24", "2001:db8::7/64", "10.1.0.9/30", "fe80::1/64", "169.254.3.4/16"} {
		ip, n, err := net.ParseCIDR(s)
		if err != nil {
			t.Fatal(err)
		}
		on.add([]net.Addr{&net.IPNet{IP: ip, Mask: n.Mask}})
	}
	return on
}

func TestOnLink(t *testing.T) {
	t.Parallel()
	on := testLinks(t)
	for a, want := range map[string]bool{
		"192.0.2.1": true, "192.0.2.254": true, "2001:db8::1": true, "10.1.0.10": true,
		"192.0.2.7": false, "10.1.0.9": false, "2001:db8::7": false, // ourselves
		"192.0.2.0": false, "192.0.2.255": false, "10.1.0.8": false, "10.1.0.11": false, // no host
		"192.0.3.1": false, "10.1.0.12": false, "2001:db9::1": false, "8.8.8.8": false, // behind a router
		"127.0.0.1": false, "::1": false, "0.0.0.0": false, "::": false, "224.0.0.251": false, "ff02::fb": false,
		"255.255.255.255": false, "169.254.169.254": false, "169.254.3.5": false, "fe80::2": false, "fe80::2%eth0": false,
	} {
		if got := on.has(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %v, want %v", a, got, want)
		}
	}
}

func testDiscovery(t *testing.T) (d *discovery, found *[]target) {
	t.Helper()
	found = new([]target)
	key := group.Open("lan")
	_, self, err := conn.Identity(seededKey(-1))
	if err != nil {
		t.Fatal(err)
	}
	return newDiscovery(Config{
		Self:  self,
		Tags:  func(day int64) []string { return []string{key.DayTag(day)} },
		Found: func(id peer.ID, a netip.AddrPort) { *found = append(*found, target{id, a}) },
		Count: func(string) {},
		Log:   slog.New(slog.DiscardHandler),
	}), found
}

// seededKey is the i-th of many keys.
func seededKey(i int) ed25519.PrivateKey {
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], uint64(i))
	return ed25519.NewKeyFromSeed(seed[:])
}

func (d *discovery) announced(id, ip string) entry {
	tag := d.Tags(group.Day(time.Now()))[0]
	return entry{port: 7680, texts: []string{"v=1", "g=" + tag, "p=" + id}, addrs: []netip.Addr{netip.MustParseAddr(ip)}}
}

func TestAnnouncements(t *testing.T) {
	t.Parallel()
	d, found := testDiscovery(t)
	on := testLinks(t)
	for name, c := range map[string]struct {
		change func(e *entry)
		want   int
	}{
		"good":            {func(*entry) {}, 1},
		"yesterday's tag": {func(e *entry) { e.texts[1] = "g=" + d.Tags(group.Day(time.Now()) - 1)[0] }, 1},
		"an old tag":      {func(e *entry) { e.texts[1] = "g=" + d.Tags(group.Day(time.Now()) - 2)[0] }, 0},
		"another group": {func(e *entry) {
			e.texts[1] = "g=" + group.Open("other").DayTag(group.Day(time.Now()))
		}, 0},
		"ourselves":            {func(e *entry) { e.texts[2] = "p=" + d.Self.String() }, 0},
		"port 0":               {func(e *entry) { e.port = 0 }, 0},
		"port 70000":           {func(e *entry) { e.port = 70000 }, 0},
		"a loopback":           {func(e *entry) { e.addrs = []netip.Addr{netip.MustParseAddr("127.0.0.1")} }, 0},
		"the metadata service": {func(e *entry) { e.addrs = []netip.Addr{cloudMetadata} }, 0},
		"off-link and on-link": {func(e *entry) {
			e.addrs = []netip.Addr{netip.MustParseAddr("9.9.9.9"), netip.MustParseAddr("192.0.2.2")}
		}, 1},
		"a thousand addresses": {func(e *entry) {
			for i := range 1000 {
				e.addrs = append(e.addrs, netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}))
			}
		}, maxEntryAddrs / 2},
	} {
		e := d.announced(testID, "192.0.2.3")
		c.change(&e)
		d.entry(e, d.tags(time.Now()), on)
		got := len(*found)
		for _, x := range *found {
			if !strings.HasPrefix(x.addr.String(), "192.0.2.") {
				t.Errorf("%s: %+v", name, x)
			}
		}
		*found = nil
		if got != c.want && !(name == "a thousand addresses" && got < c.want && got > 0) {
			t.Errorf("%s: %d offered, want %d", name, got, c.want)
		}
	}
}

// TestAnnouncementFlood: ten thousand peers announced at once are a few dials.
func TestAnnouncementFlood(t *testing.T) {
	t.Parallel()
	d, found := testDiscovery(t)
	on := testLinks(t)
	tags := d.tags(time.Now())
	start := time.Now()
	for i := range 10_000 {
		_, id, err := conn.Identity(seededKey(i))
		if err != nil {
			t.Fatal(err)
		}
		d.entry(d.announced(id.String(), fmt.Sprintf("192.0.2.%d", 10+i%200)), tags, on)
	}
	offers := len(*found)
	// The budget fills up while we count.
	if most := candidatesPerMinute * (1 + time.Since(start).Minutes()); float64(offers) > most+1 {
		t.Errorf("%d peers offered, want at most %.0f", offers, most)
	}
	// What is known is not held back by the flood.
	first := (*found)[0]
	d.entry(d.announced(first.id.String(), first.addr.Addr().String()), tags, on)
	if len(*found) != offers+1 {
		t.Error("a known peer is lost in the flood")
	}
	for i := range 5 * maxKnownTargets {
		d.admit(target{id: peer.ID(fmt.Sprint(i))}, time.Now().Add(time.Duration(i)*time.Hour))
	}
	if len(d.seen) > maxKnownTargets {
		t.Errorf("%d targets remembered", len(d.seen))
	}
}

// TestQueries: five questions in the first three seconds, then ever fewer, at least one a minute.
func TestQueries(t *testing.T) {
	t.Parallel()
	early := 0
	for k := range 20 {
		if gap := queryAt(k+1) - queryAt(k); gap <= 0 || gap > queryInterval {
			t.Errorf("question %d: gap %v", k, gap)
		}
		if queryAt(k) <= 3*time.Second {
			early++
		}
	}
	if early != 5 {
		t.Errorf("%d questions in three seconds", early)
	}
}

func TestNoDiscoveryOnLoopback(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string]bool{"127.0.0.1:7680": true, "[::1]:7680": true, "0.0.0.0:7680": false, "192.0.2.1:7680": false} {
		c := Config{Listen: []netip.AddrPort{netip.MustParseAddrPort(listen)}}
		if c.onLoopback() != want {
			t.Errorf("%s: %v", listen, !want)
		}
	}
	if (&Config{}).onLoopback() {
		t.Error("who does not listen may not look for others")
	}
}
