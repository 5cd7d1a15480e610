package swarm

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/zeroconf/v2"
	"golang.org/x/time/rate"
)

// What is announced: docs/protocol.md, "Discovery".
const (
	serviceType   = "_dunlin._tcp"
	serviceDomain = "local"
	announceTTL   = 120 // seconds
)

// Bounds of discovery. An announcement costs us a few comparisons whatever it says.
const (
	candidatesPerMinute = 64
	maxKnownTargets     = 1024
	maxWindowEntries    = 512 // instances heard by one query; more is a flood
	floodPause          = 10 * time.Second
	maxEntryAddrs       = 8
	maxEntryTexts       = 16
	maxText             = 128 // bytes
	refreshInterfaces   = 15 * time.Second
)

// What becomes of an announcement.
const (
	announcedMalformed = "malformed"
	announcedOther     = "other_group"
	announcedOffLink   = "off_link"
	announcedOverLimit = "over_limit"
	announcedOffered   = "offered"
)

// querySchedule is when questions are asked after the start: often at first, since devices that start together must
// find each other in a moment, then every queryInterval.
var querySchedule = [...]time.Duration{
	0, 100 * time.Millisecond, 300 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second, 30 * time.Second,
}

const queryInterval = time.Minute

// discovery announces this device and looks for others, by DNS-SD over multicast DNS.
type discovery struct {
	n *Node

	budget *rate.Limiter // of candidates that were not known
	flood  atomic.Int64  // until when nothing is asked, in Unix nanoseconds
	warned atomic.Bool

	mu   sync.Mutex           // guards seen
	seen map[target]time.Time // targets that were offered
}

type target struct {
	id   peer.ID
	addr netip.AddrPort
}

// discover runs until ctx ends. That it cannot start is a warning: static peers work without it.
func (n *Node) discover(ctx context.Context) {
	if len(n.listen) > 0 && n.onLoopback() {
		n.log.LogAttrs(ctx, slog.LevelInfo, "no discovery: this device listens on loopback addresses only")
		return
	}
	d := &discovery{
		n: n, budget: rate.NewLimiter(rate.Every(time.Minute/candidatesPerMinute), candidatesPerMinute),
		seen: make(map[target]time.Time),
	}
	var wg sync.WaitGroup
	if len(n.listen) > 0 {
		wg.Go(func() { d.announce(ctx) })
	}
	wg.Go(func() { d.browse(ctx, zeroconf.IPv4) })
	wg.Go(func() { d.browse(ctx, zeroconf.IPv6) })
	wg.Wait()
}

func (n *Node) onLoopback() bool {
	for _, l := range n.listen {
		if !l.Addr().(*net.TCPAddr).IP.IsLoopback() {
			return false
		}
	}
	return true
}

// announce keeps the announcement true: another one each day and whenever the interfaces change.
func (d *discovery) announce(ctx context.Context) {
	var servers []*zeroconf.Server
	defer func() { shutdown(servers) }()
	var day int64
	var was onLink
	tick := time.NewTicker(refreshInterfaces)
	defer tick.Stop()
	for {
		ifaces, on := interfaces()
		if today := dayOf(time.Now()); today != day || !on.equal(was) {
			shutdown(servers)
			servers, day, was = d.register(ctx, ifaces, today), today, on
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func shutdown(servers []*zeroconf.Server) {
	for _, s := range servers {
		s.Shutdown()
	}
}

// register announces each listener. The instance and the host have random names: ours say nothing.
func (d *discovery) register(ctx context.Context, ifaces []net.Interface, day int64) []*zeroconf.Server {
	if len(ifaces) == 0 {
		return nil
	}
	text := []string{"v=1", "g=" + d.n.auth.keys[0].dayTag(day), "p=" + d.n.self.String()}
	var out []*zeroconf.Server
	for _, l := range d.n.listen {
		a := l.Addr().(*net.TCPAddr)
		if a.IP.IsLoopback() {
			continue
		}
		var ips []string // none: those of the interface that a question came from
		if !a.IP.IsUnspecified() {
			ips = []string{a.IP.String()}
		}
		s, err := zeroconf.RegisterProxy(opaque(), serviceType, serviceDomain, a.Port, opaque(), ips, text, ifaces,
			zeroconf.TTL(announceTTL))
		if err != nil {
			d.warn(ctx, "announce", err)
			continue
		}
		out = append(out, s)
	}
	return out
}

func (d *discovery) warn(ctx context.Context, what string, err error) {
	if !d.warned.Swap(true) {
		d.n.log.LogAttrs(ctx, slog.LevelWarn, "discovery does not work; static peers do", slog.String("step", what),
			slog.String("err", quote(err)))
	}
}

func opaque() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// browse asks by the schedule. Each question listens until the one after the next is asked, so that no answer falls
// between two; each starts with an empty memory, which bounds what a flood can fill.
func (d *discovery) browse(ctx context.Context, family zeroconf.IPType) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for k := 0; ; k++ {
		gap, open := queryWindow(k)
		if time.Now().UnixNano() >= d.flood.Load() {
			wg.Go(func() { d.ask(ctx, family, open) })
		}
		pause(ctx, gap)
		if ctx.Err() != nil {
			return
		}
	}
}

// queryWindow returns how long after question k the next is asked, and how long k's answers are listened to.
func queryWindow(k int) (gap, open time.Duration) {
	at := func(k int) time.Duration {
		last := len(querySchedule) - 1
		return querySchedule[min(k, last)] + time.Duration(max(k-last, 0))*queryInterval
	}
	return at(k+1) - at(k), at(k+2) - at(k)
}

func (d *discovery) ask(ctx context.Context, family zeroconf.IPType, open time.Duration) {
	ifaces, on := interfaces()
	if len(ifaces) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, open)
	defer cancel()
	entries := make(chan *zeroconf.ServiceEntry, 16)
	failed := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		err := zeroconf.Browse(ctx, serviceType, serviceDomain, entries, zeroconf.SelectIPTraffic(family), zeroconf.SelectIfaces(ifaces))
		if err != nil {
			if family == zeroconf.IPv4 { // many networks have no IPv6
				d.warn(ctx, "ask", err)
			}
			close(failed)
		}
	})
	d.hear(ctx, cancel, entries, failed, on)
	wg.Wait()
}

// hear takes entries until their channel is closed, or there was none to begin with.
func (d *discovery) hear(ctx context.Context, cancel context.CancelFunc, entries <-chan *zeroconf.ServiceEntry, failed <-chan struct{}, on onLink) {
	tags := d.tags(time.Now())
	for n := 0; ; n++ {
		select {
		case e, ok := <-entries:
			if !ok {
				return
			}
			if n == maxWindowEntries {
				d.flood.Store(time.Now().Add(floodPause).UnixNano())
				d.n.log.LogAttrs(ctx, slog.LevelWarn, "discovery pauses: too many announcements")
				cancel()
			}
			if n < maxWindowEntries {
				d.entry(e, tags, on)
			}
		case <-failed:
			return
		}
	}
}

// tags are the group's of yesterday, today and tomorrow: clocks differ.
func (d *discovery) tags(now time.Time) map[string]bool {
	out := make(map[string]bool)
	for i := range d.n.auth.keys {
		for day := dayOf(now) - 1; day <= dayOf(now)+1; day++ {
			out[d.n.auth.keys[i].dayTag(day)] = true
		}
	}
	return out
}

// entry judges one announcement.
func (d *discovery) entry(e *zeroconf.ServiceEntry, tags map[string]bool, on onLink) {
	outcome := announcedMalformed
	id, tag, ok := parseTexts(e.Text)
	switch {
	case !ok || e.Port < 1 || e.Port > 65535:
	case id == d.n.self:
		return
	case !tags[tag]:
		outcome = announcedOther
	default:
		outcome = d.offer(id, e, on)
	}
	d.n.metrics.found.WithLabelValues(outcome).Inc()
}

// offer gives the table the addresses that are on-link.
func (d *discovery) offer(id peer.ID, e *zeroconf.ServiceEntry, on onLink) string {
	outcome := announcedOffLink
	for _, ip := range entryAddrs(e) {
		if !on.has(ip) {
			continue
		}
		t := target{id, netip.AddrPortFrom(ip, uint16(e.Port))}
		if !d.admit(t, time.Now()) {
			return announcedOverLimit
		}
		d.n.post(evFound{id, t.addr.String(), false})
		outcome = announcedOffered
	}
	return outcome
}

// entryAddrs returns the first few addresses, IPv4 last: the newest target is tried first.
func entryAddrs(e *zeroconf.ServiceEntry) []netip.Addr {
	var out []netip.Addr
	for _, ips := range [][]net.IP{e.AddrIPv6, e.AddrIPv4} {
		for _, ip := range ips[:min(len(ips), maxEntryAddrs/2)] {
			if a, ok := netip.AddrFromSlice(ip); ok {
				out = append(out, a.Unmap())
			}
		}
	}
	return out
}

// admit takes what is known already, and what is new within the budget.
func (d *discovery) admit(t target, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, known := d.seen[t]
	if !known {
		if !d.budget.AllowN(now, 1) {
			return false
		}
		if len(d.seen) >= maxKnownTargets {
			clear(d.seen) // what is announced again comes back at the budget's pace
		}
	}
	d.seen[t] = now
	return true
}

// parseTexts reads the TXT record: v=1, g=TAG and p=ID once each; others are skipped.
func parseTexts(texts []string) (id peer.ID, tag string, ok bool) {
	found := make(map[string]string, 3)
	for _, t := range texts[:min(len(texts), maxEntryTexts)] {
		k, v, _ := strings.Cut(t, "=")
		if k != "v" && k != "g" && k != "p" || len(v) > maxText {
			continue
		}
		if _, twice := found[k]; twice {
			return "", "", false
		}
		found[k] = v
	}
	if v, err := strconv.Atoi(found["v"]); err != nil || v != 1 {
		return "", "", false
	}
	id, err := peer.Decode(found["p"])
	return id, found["g"], err == nil && found["g"] != ""
}
