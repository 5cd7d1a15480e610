package discover

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

	"github.com/dunlin-project/dunlin/swarm/group"
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
	malformed  = "malformed"
	otherGroup = "other_group"
	offLink    = "off_link"
	overLimit  = "over_limit"
	offered    = "offered"
)

// Outcomes are the words that Config.Count is called with.
func Outcomes() []string { return []string{malformed, otherGroup, offLink, overLimit, offered} }

// querySchedule is when questions are asked after the start: often at first, since devices that start together must
// find each other in a moment, then every queryInterval.
var querySchedule = [...]time.Duration{
	0, 100 * time.Millisecond, 300 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second, 30 * time.Second,
}

const queryInterval = time.Minute

// Config is what to announce and whom to look for.
type Config struct {
	Self peer.ID
	// Listen are the listeners' addresses; those on loopback are not announced. None announces nothing.
	Listen []netip.AddrPort
	// Tag is what members of the group announce on a day (group.Key.DayTag); the first of several is announced.
	Tags func(day int64) []string
	// Found takes a peer and where it may be. It may be called from several goroutines.
	Found func(peer.ID, netip.AddrPort)
	// Count counts an announcement by what became of it (Outcomes).
	Count func(outcome string)
	Log   *slog.Logger
}

// discovery is one Run.
type discovery struct {
	Config

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

func newDiscovery(c Config) *discovery {
	return &discovery{
		Config: c, budget: rate.NewLimiter(rate.Every(time.Minute/candidatesPerMinute), candidatesPerMinute),
		seen: make(map[target]time.Time),
	}
}

// Run announces and looks until ctx ends. That it cannot start is a warning in the log: static peers work without it.
func Run(ctx context.Context, c Config) {
	if c.onLoopback() {
		c.Log.LogAttrs(ctx, slog.LevelInfo, "no discovery: this device listens on loopback addresses only")
		return
	}
	d := newDiscovery(c)
	var wg sync.WaitGroup
	if len(c.Listen) > 0 {
		wg.Go(func() { d.announce(ctx) })
	}
	wg.Go(func() { d.browse(ctx, zeroconf.IPv4) })
	wg.Go(func() { d.browse(ctx, zeroconf.IPv6) })
	wg.Wait()
}

// onLoopback reports whether nobody else could reach the listeners.
func (c *Config) onLoopback() bool {
	for _, l := range c.Listen {
		if !l.Addr().IsLoopback() {
			return false
		}
	}
	return len(c.Listen) > 0
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
		if today := group.Day(time.Now()); today != day || !on.equal(was) {
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
	text := []string{"v=1", "g=" + d.Tags(day)[0], "p=" + d.Self.String()}
	var out []*zeroconf.Server
	for _, l := range d.Listen {
		if l.Addr().IsLoopback() {
			continue
		}
		var ips []string // none: those of the interface that a question came from
		if !l.Addr().IsUnspecified() {
			ips = []string{l.Addr().String()}
		}
		s, err := zeroconf.RegisterProxy(opaque(), serviceType, serviceDomain, int(l.Port()), opaque(), ips, text, ifaces,
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
		d.Log.LogAttrs(ctx, slog.LevelWarn, "discovery does not work; static peers do", slog.String("step", what),
			slog.String("err", err.Error()))
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

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
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
				d.Log.LogAttrs(ctx, slog.LevelWarn, "discovery pauses: too many announcements")
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
	for day := group.Day(now) - 1; day <= group.Day(now)+1; day++ {
		for _, tag := range d.Tags(day) {
			out[tag] = true
		}
	}
	return out
}

// entry judges one announcement.
func (d *discovery) entry(e *zeroconf.ServiceEntry, tags map[string]bool, on onLink) {
	outcome := malformed
	id, tag, ok := parseTexts(e.Text)
	switch {
	case !ok || e.Port < 1 || e.Port > 65535:
	case id == d.Self:
		return
	case !tags[tag]:
		outcome = otherGroup
	default:
		outcome = d.offer(id, e, on)
	}
	d.Count(outcome)
}

// offer gives the table the addresses that are on-link.
func (d *discovery) offer(id peer.ID, e *zeroconf.ServiceEntry, on onLink) string {
	outcome := offLink
	for _, ip := range entryAddrs(e) {
		if !on.has(ip) {
			continue
		}
		t := target{id, netip.AddrPortFrom(ip, uint16(e.Port))}
		if !d.admit(t, time.Now()) {
			return overLimit
		}
		d.Found(id, t.addr)
		outcome = offered
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
