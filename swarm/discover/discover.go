package discover

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/dunlin-project/dunlin/swarm/group"
)

// What is announced: docs/protocol.md, "Discovery".
const (
	serviceType   = "_dunlin._tcp"
	cacheType     = "_dunlin-cache._tcp"
	serviceDomain = "local"
	announceTTL   = 120 // seconds
)

// Bounds of discovery. An announcement costs us a few comparisons whatever it says.
const (
	candidatesPerMinute = 256
	maxKnownTargets     = 1024
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
	// Caches are the addresses of a caching node's HTTP face, which are announced as a service of their own.
	Caches []netip.AddrPort
	// Tag is what members of the group announce on a day (group.Key.DayTag); the first of several is announced.
	Tags func(day int64) []string
	// Found takes a peer and where it may be. It may be called from several goroutines. Nil: nobody looks for peers.
	Found func(peer.ID, netip.AddrPort)
	// FoundCache is the same for the HTTP faces of caching nodes; again and again for as long as they are announced.
	FoundCache func(peer.ID, netip.AddrPort)
	// Count counts an announcement by what became of it (Outcomes).
	Count func(outcome string)
	Log   *slog.Logger
}

// discovery is one Run.
type discovery struct {
	Config

	budget *rate.Limiter // of candidates that were not known
	flood  atomic.Int64  // until when a flood is not logged again, in Unix nanoseconds
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
	for ctx.Err() == nil {
		ifaces, on := interfaces()
		d.session(ctx, ifaces, on)
	}
}

// onLoopback reports whether nobody else could reach the listeners.
func (c *Config) onLoopback() bool {
	all := slices.Concat(c.Listen, c.Caches)
	return len(all) > 0 && !slices.ContainsFunc(all, func(l netip.AddrPort) bool { return !l.Addr().IsLoopback() })
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

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// queryAt is when question k is asked, after the start.
func queryAt(k int) time.Duration {
	last := len(querySchedule) - 1
	return querySchedule[min(k, last)] + time.Duration(max(k-last, 0))*queryInterval
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
func (d *discovery) entry(e entry, tags map[string]bool, on onLink) {
	found := d.taker(e.kind)
	if found == nil {
		return
	}
	outcome := malformed
	id, tag, ok := parseTexts(e.texts)
	switch {
	case !ok || e.port < 1 || e.port > 65535:
	case id == d.Self:
		return
	case !tags[tag]:
		outcome = otherGroup
	default:
		outcome = d.offer(id, e, on, found)
	}
	d.Count(outcome)
}

// taker is who takes announcements of a kind; nil: nobody looks for it.
func (d *discovery) taker(k kinds) func(peer.ID, netip.AddrPort) {
	if k == aCache {
		return d.FoundCache
	}
	return d.Found
}

// wanted is what is looked for.
func (d *discovery) wanted() (k kinds) {
	if d.Found != nil {
		k |= aPeer
	}
	if d.FoundCache != nil {
		k |= aCache
	}
	return k
}

// offer hands on the addresses that are on-link.
func (d *discovery) offer(id peer.ID, e entry, on onLink, found func(peer.ID, netip.AddrPort)) string {
	outcome := offLink
	for _, ip := range entryAddrs(e) {
		if !on.has(ip) {
			continue
		}
		t := target{id, netip.AddrPortFrom(ip, uint16(e.port))}
		if !d.admit(t, time.Now()) {
			return overLimit
		}
		found(id, t.addr)
		outcome = offered
	}
	return outcome
}

// entryAddrs returns the first few addresses, IPv4 last: the newest target is tried first.
func entryAddrs(e entry) []netip.Addr {
	var four, six []netip.Addr
	for _, a := range e.addrs {
		if a.Is4() {
			four = append(four, a)
		} else {
			six = append(six, a)
		}
	}
	const most = maxEntryAddrs / 2
	return append(six[:min(len(six), most)], four[:min(len(four), most)]...)
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
