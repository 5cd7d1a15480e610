package approved

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/cachenode"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/member"
	"github.com/dunlin-project/dunlin/metadata/metadatatest"
	"github.com/dunlin-project/dunlin/piecehash"
)

// world is an organisation with a publisher, whose depot is a TLS server that can go away.
type world struct {
	t       *testing.T
	org     *metadatatest.Org
	acme    *metadatatest.Publisher
	ca      *metadatatest.Authority
	url     string
	dir     string // of the node
	log     bytes.Buffer
	gate    *httpfallback.Gate
	content []string // base URLs of the depot

	mu   sync.Mutex // guards away and org
	away bool
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		t: t, org: metadatatest.NewOrg(t, time.Now(), "pilot", "broad", "lab"), ca: metadatatest.NewAuthority(t, "depot CA", time.Now()),
		dir: filepath.Join(t.TempDir(), "node"), gate: httpfallback.NewGate(httpfallback.GateConfig{}),
		content: []string{"http://depot.example/"},
	}
	t.Cleanup(func() { w.gate.Close() })
	w.acme = w.org.Trust("acme")
	w.org.SetFleet(metadata.Fleet{Origins: []string{"http://cdn.example"}, Group: "ward-7"})
	w.url = w.ca.Serve(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.away {
			rw.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.org.ServeHTTP(rw, r)
	}), w.ca.Server(nil), nil).URL
	return w
}

// change does something to the organisation while nobody is served.
func (w *world) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// offer releases an update and approves it for a ring.
func (w *world) offer(ring, id, version string, release int64, change func(*metadata.Approval)) *metadata.Update {
	w.t.Helper()
	payload, _ := fetchtest.Content(uint64(release)+uint64(len(id)), 100_000+release, piecehash.MinPieceLength)
	var u *metadata.Update
	w.change(func() {
		u = w.acme.Release(id, version, release, payload)
		w.org.Approve(ring, w.acme, u, change)
	})
	return u
}

// open is a new process.
func (w *world) open(rings ...string) *Catalogue {
	w.t.Helper()
	if len(rings) == 0 {
		rings = []string{"pilot"}
	}
	c, err := Open(Config{
		Dir: w.dir, Anchors: member.Anchors{Root: w.org.Anchor(), Authority: w.ca.PEM}, Depots: []string{w.url}, Rings: rings,
		Content: w.content, ID: "node", Log: slog.New(slog.NewTextHandler(&w.log, nil)),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// synced is open after an answer of the depot.
func (w *world) synced(rings ...string) *Catalogue {
	w.t.Helper()
	c := w.open(rings...)
	if err := c.Sync(w.t.Context(), w.gate); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// wants checks what a catalogue says of a content: 0 is that it may be given away, Unknown is fault.Internal.
func wants(t *testing.T, what string, c *Catalogue, root piecehash.Root, kind fault.Kind) {
	t.Helper()
	item, err := c.Find(root)
	if fault.Of(err) != kind || (kind == 0) != (item != nil && item.Manifest.Root() == root) || kind == unknown && !errors.Is(err, cachenode.ErrUnknown) {
		t.Errorf("%s: %+v, %v (%v)", what, item, err, fault.Of(err))
	}
}

// unknown is the kind of cachenode.ErrUnknown, which has none of its own.
const unknown = fault.Internal

func TestApprovedContentIsKnown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.offer("pilot", "app", "1.0", 1, nil)
	other := w.offer("lab", "tool", "1.0", 2, nil)
	w.change(func() { u = w.acme.Release("later", "1.0", 3, []byte("not approved")) })
	later := u
	u = w.offer("broad", "big", "1.0", 4, nil)
	c := w.open("pilot", "broad")
	wants(t, "before anything was asked", c, u.Root, unknown)
	if c.Group() != "" || c.Refresh(t.Context()) != nil {
		t.Errorf("before anything was asked: group %q", c.Group())
	}
	if err := c.Sync(t.Context(), w.gate); err != nil {
		t.Fatal(err)
	}
	wants(t, "approved", c, u.Root, 0)
	wants(t, "of another ring", c, other.Root, unknown)
	wants(t, "not approved", c, later.Root, unknown)
	item, err := c.Find(u.Root)
	if err != nil || item.Name != "acme/big@1.0" || len(item.Hints) != 0 || len(item.Origins) != 2 ||
		item.Origins[0] != "http://cdn.example/content/"+u.Root.String() || item.Origins[1] != "http://depot.example/content/"+u.Root.String() {
		t.Errorf("%+v %v", item, err)
	}
	if c.Group() != "ward-7" {
		t.Errorf("group %q", c.Group())
	}
	if s := c.Status(); s.Known != 2 || s.Err != nil || s.Synced.IsZero() || !s.Expires.After(time.Now()) || !s.Expires.Equal(cachenode.Union{c}.Expires()) {
		t.Errorf("%+v", s)
	}
	if root, err := c.Named("acme", "big", ""); err != nil || root != u.Root {
		t.Errorf("%v %v", root, err)
	}
	if _, err := c.Named("acme", "big", "2.0"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("another version: %v", err)
	}
}

// TestTheStricterApprovalWins: content that one ring may exchange and another may not is not given away.
func TestTheStricterApprovalWins(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alone := func(a *metadata.Approval) { a.Peering = false }
	u := w.offer("pilot", "app", "1.0", 1, nil)
	w.change(func() { w.org.Approve("broad", w.acme, u, alone) })
	wants(t, "one of two", w.synced("pilot", "broad"), u.Root, fault.Refused)
	wants(t, "the order is nothing", w.synced("broad", "pilot"), u.Root, fault.Refused)
	wants(t, "the other ring is not ours", w.synced("pilot"), u.Root, 0)
	w.change(func() { w.org.Approve("pilot", w.acme, u, alone) })
	c := w.synced("pilot")
	wants(t, "changed", c, u.Root, fault.Refused)
	if got := c.Refresh(t.Context()); len(got) != 0 {
		t.Errorf("fetched ahead: %v", got)
	}
	w.change(func() { w.org.Approve("pilot", w.acme, u, nil) })
	wants(t, "changed back", w.synced("pilot"), u.Root, 0)
}

// TestWithdrawn: what is not approved any more is refused, also by the next process and without the depot; approved again, it
// is known again.
func TestWithdrawn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u, pulled := w.offer("pilot", "app", "1.0", 1, nil), w.offer("pilot", "tool", "1.0", 2, nil)
	c := w.synced()
	w.change(func() {
		w.org.Unapprove("pilot", "acme", "app", "1.0")
		w.acme.Withdraw("tool", "1.0")
	})
	if err := c.Sync(t.Context(), w.gate); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]*Catalogue{"this process": c, "the next": w.open()} {
		wants(t, what+", unapproved", c, u.Root, fault.Refused)
		wants(t, what+", withdrawn by its publisher", c, pulled.Root, fault.Refused)
		if s := c.Status(); s.Withdrawn != 2 || s.Known != 0 {
			t.Errorf("%s: %+v", what, s)
		}
	}
	w.change(func() { w.org.Approve("pilot", w.acme, w.acme.Release("app", "1.0", 1, mustContent(1, "app")), nil) })
	wants(t, "approved again", w.synced(), u.Root, 0)
}

func mustContent(release int64, id string) []byte {
	payload, _ := fetchtest.Content(uint64(release)+uint64(len(id)), 100_000+release, piecehash.MinPieceLength)
	return payload
}

// TestWithoutTheDepot: what was verified last is known, in this process and the next, whatever the depot does.
func TestWithoutTheDepot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.offer("pilot", "app", "1.0", 1, nil)
	c := w.synced()
	w.change(func() { w.away = true })
	for what, c := range map[string]*Catalogue{"this process": c, "the next": w.open()} {
		if err := c.Sync(t.Context(), w.gate); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: %v", what, err)
		}
		wants(t, what, c, u.Root, 0)
		if got := c.Refresh(t.Context()); len(got) != 1 {
			t.Errorf("%s: ahead %v", what, got)
		}
	}
	if !bytes.Contains(w.log.Bytes(), []byte("going on with what was last verified")) {
		t.Errorf("it is not said:\n%s", w.log.String())
	}
}

// soon is when what a test has signed runs out; it is asked at later then.
func soon() (runsOut, later time.Time) {
	now := time.Now().UTC().Truncate(time.Second)
	return now.Add(time.Minute), now.Add(2 * time.Minute)
}

// TestRunOut: on approvals that have run out nothing new is learnt and nothing fetched ahead; what was known and what was
// forbidden stays so.
func TestRunOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	runsOut, later := soon()
	w.org.Approvals.Timestamp.Signed.Expires = runsOut
	u := w.offer("pilot", "app", "1.0", 1, nil)
	forbidden := w.offer("pilot", "tool", "1.0", 2, func(a *metadata.Approval) { a.Peering = false })
	if got := w.synced().ahead(time.Now()); len(got) != 1 {
		t.Errorf("before: ahead %v", got)
	}
	fresh := w.offer("pilot", "late", "1.0", 3, nil)
	c := w.open()
	if err := c.sync(t.Context(), w.gate, later); !fault.Is(err, fault.Unavailable) {
		t.Fatalf("approvals that have run out: %v", err)
	}
	wants(t, "known", c, u.Root, 0)
	wants(t, "forbidden", c, forbidden.Root, fault.Refused)
	wants(t, "new", c, fresh.Root, unknown)
	if got := c.ahead(later); len(got) != 0 {
		t.Errorf("ahead %v", got)
	}
}

// TestACatalogueThatHasRunOut takes nothing away that was known, and nothing is learnt or fetched ahead from it.
func TestACatalogueThatHasRunOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	runsOut, later := soon()
	w.acme.Catalogue.Timestamp.Signed.Expires = runsOut
	u := w.offer("pilot", "app", "1.0", 1, nil)
	w.synced()
	fresh := w.offer("pilot", "late", "1.0", 3, nil)
	c := w.open()
	if err := c.sync(t.Context(), w.gate, later); err != nil {
		t.Fatal(err)
	}
	wants(t, "known", c, u.Root, 0)
	wants(t, "new", c, fresh.Root, unknown)
	if got := c.ahead(later); len(got) != 0 {
		t.Errorf("ahead %v", got)
	}
	w.change(func() { w.org.Approve("pilot", w.acme, u, func(a *metadata.Approval) { a.Peering = false }) })
	if err := c.sync(t.Context(), w.gate, later); err != nil {
		t.Fatal(err)
	}
	wants(t, "the organisation's word counts all the same", c, u.Root, fault.Refused)
}

// TestOrderAhead: the nearest deadline first, then what was released last; not what is held or replaced.
func TestOrderAhead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	now := time.Now().UTC().Truncate(time.Second)
	by := func(d time.Duration) func(*metadata.Approval) {
		return func(a *metadata.Approval) { a.Deadline = now.Add(d) }
	}
	released := func(id string, release int64, ago time.Duration, change func(*metadata.Approval)) piecehash.Root {
		payload := mustContent(release, id)
		var u *metadata.Update
		w.change(func() {
			u = w.acme.Update(id, "1.0", release, payload)
			u.Released = now.Add(-ago)
			w.acme.Add(u, payload)
			w.org.Approve("pilot", w.acme, u, change)
		})
		return u.Root
	}
	older := released("older", 1, 2*time.Hour, nil)
	newer := released("newer", 2, time.Hour, nil)
	late := released("late", 3, time.Hour, by(48*time.Hour))
	first := released("soon", 4, 3*time.Hour, by(time.Hour))
	held := released("held", 5, time.Minute, nil)
	replaced := w.offer("pilot", "newest", "1.0", 6, nil)
	newest := w.offer("pilot", "newest", "2.0", 7, nil)
	w.change(func() {
		u := w.acme.Release("held", "2.0", 8, mustContent(8, "held"))
		w.org.Approve("pilot", w.acme, u, func(a *metadata.Approval) { a.Action = metadata.ActionHold })
	})
	c := w.synced()
	want := []piecehash.Root{first, late, newest.Root, newer, older}
	got := c.Refresh(t.Context())
	if len(got) != len(want) {
		t.Fatalf("%d contents, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("place %d: %v, want %v", i, got[i], want[i])
		}
	}
	wants(t, "held", c, held, 0)
	wants(t, "replaced", c, replaced.Root, 0)
}

// TestTheDepotsIdentity: another certificate is untrusted, and nothing is learnt.
func TestTheDepotsIdentity(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.offer("pilot", "app", "1.0", 1, nil)
	other := metadatatest.NewAuthority(t, "another CA", time.Now())
	w.url = other.Serve(w.org, other.Server(func(*x509.Certificate) {}), nil).URL
	c := w.open()
	if err := c.Sync(t.Context(), w.gate); !fault.Is(err, fault.Untrusted) {
		t.Errorf("%v", err)
	}
	wants(t, "nothing was learnt", c, u.Root, unknown)
}

// TestLayers: the layer that the depot does not give comes from where content is, and a damaged one is fetched again.
func TestLayers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.offer("pilot", "app", "1.0", 1, nil)
	c := w.synced()
	file := c.layers.file(u.Root)
	if err := os.WriteFile(file, []byte("rotten"), 0o600); err != nil {
		t.Fatal(err)
	}
	c = w.open()
	wants(t, "damaged", c, u.Root, fault.Unavailable)
	if err := c.Sync(t.Context(), w.gate); err != nil {
		t.Fatal(err)
	}
	wants(t, "mended", c, u.Root, 0)
	w.change(func() { w.org.Unapprove("pilot", "acme", "app", "1.0") })
	if err := c.Sync(t.Context(), w.gate); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("the layer of what is withdrawn stays")
	}
}

func TestRunAsksAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.open()
	c.times = member.NewSchedule("node", MinInterval)
	ctx, cancel := context.WithCancel(t.Context())
	var u *metadata.Update
	asked := 0
	err := c.Run(ctx, w.gate, func() {
		if asked++; asked == 1 {
			u = w.offer("pilot", "app", "1.0", 1, nil)
			return
		}
		cancel()
	})
	if err != nil || asked != 2 {
		t.Errorf("asked %d times, %v", asked, err)
	}
	wants(t, "approved meanwhile", c, u.Root, 0)
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	good := Config{Dir: filepath.Join(t.TempDir(), "node"), Depots: []string{"https://depot.example"}, Rings: []string{"pilot"}}
	for name, change := range map[string]func(*Config){
		"no ring":       func(c *Config) { c.Rings = nil },
		"no ring's":     func(c *Config) { c.Rings = []string{"a/b"} },
		"too often":     func(c *Config) { c.Interval = time.Millisecond },
		"too seldom":    func(c *Config) { c.Interval = 25 * time.Hour },
		"no depot":      func(c *Config) { c.Depots = nil },
		"without a pin": func(c *Config) { c.Anchors = member.Anchors{} },
	} {
		cfg := good
		change(&cfg)
		if _, err := Open(cfg); !fault.Is(err, fault.Usage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
