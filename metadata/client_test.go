package metadata_test

import (
	"context"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/metadatatest"
	"github.com/dunlin-project/dunlin/metadata/pinned"
	"github.com/dunlin-project/dunlin/metadata/tuf/tuftest"
	"github.com/dunlin-project/dunlin/piecehash"
)

// depot serves files as they are at the moment, and may be away.
type depot struct {
	mu    sync.Mutex
	files map[string][]byte
	all   []byte // instead of every file
	away  bool
	asked []string
}

func (d *depot) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, r.URL.Path)
	b, ok := d.files[r.URL.Path]
	switch {
	case d.away:
		w.WriteHeader(http.StatusServiceUnavailable)
	case d.all != nil:
		_, _ = w.Write(d.all)
	case !ok:
		http.NotFound(w, r)
	default:
		_, _ = w.Write(b)
	}
}

func (d *depot) set(change func(d *depot)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

// device is a client of a scene's depot over pinned TLS.
type device struct {
	*scene
	depot  *depot
	client *metadata.Client
	cfg    metadata.ClientConfig
}

func newDevice(t *testing.T) *device {
	t.Helper()
	s := newScene(t)
	ca := metadatatest.NewAuthority(t, "Dunlin depot", start())
	d := &device{scene: s, depot: &depot{files: s.org.Served()}}
	server := ca.Serve(d.depot, ca.Server(nil), nil)
	d.cfg = metadata.ClientConfig{
		Dir: filepath.Join(t.TempDir(), "metadata"), Anchor: s.org.Anchor(), Depots: []string{server.URL},
		CA: ca.PEM, Pins: []metadata.Pin{ca.Pin()}, Ring: "pilot", Proxy: direct,
	}
	d.open()
	return d
}

func (d *device) open() {
	d.t.Helper()
	var err error
	if d.client, err = metadata.NewClient(d.cfg); err != nil {
		d.t.Fatal(err)
	}
}

func (d *device) publish() { d.depot.set(func(p *depot) { p.files = d.org.Served() }) }

// good syncs and returns the view.
func (d *device) good() *metadata.View {
	d.t.Helper()
	v, b, err := d.client.Sync(d.t.Context(), start())
	if err != nil || len(v.Offers("pilot")) == 0 {
		d.t.Fatalf("sync: %v", err)
	}
	if again, err := metadata.Open(d.cfg.Anchor, b, start()); err != nil || len(again.Offers("pilot")) != len(v.Offers("pilot")) {
		d.t.Fatalf("the bundle does not open to the same: %v", err)
	}
	return v
}

func TestSync(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	d.good()
	d.org.Approve("pilot", d.pub, d.pub.Release("app", "1.1", 2, payload()), nil)
	d.publish()
	if n := len(d.good().Offers("pilot")); n != 2 {
		t.Errorf("%d offers after the second approval", n)
	}
	if slices.ContainsFunc(d.depot.asked, func(p string) bool { return strings.Contains(p, "ring-broad") }) {
		t.Error("asked for another ring's approvals")
	}
}

func TestSyncFromAFolder(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	dir := filepath.Join(t.TempDir(), "with space")
	d.org.Write(dir)
	d.cfg.Depots, d.cfg.CA, d.cfg.Pins = []string{"file://" + strings.ReplaceAll(dir, " ", "%20")}, nil, nil
	d.cfg.Ring = ""
	d.open()
	if rings := d.good().Rings(); len(rings) != 2 {
		t.Errorf("rings %v", rings)
	}
	m, err := d.client.Layer(t.Context(), d.good().Offers("pilot")[0].Content())
	if err != nil || m.Pieces() < 2 {
		t.Errorf("layer: %v", err)
	}
}

// TestFlippedBitAtTheDepot: wherever it is, nothing is installed and the kind is untrusted; the next good run needs no help.
func TestFlippedBitAtTheDepot(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	d.org.Approvals.PublishRoot()
	d.pub.Catalogue.PublishRoot()
	files := d.org.Served()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		// Older versions are not asked for; the first root of the approvals is the anchor.
		if strings.Contains(name, "/layer/") || strings.Contains(name, "ring-broad") || !current(d.org, name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			for i := range 5 {
				at := (i*len(files[name])/5 + i) % len(files[name])
				b := slices.Clone(files[name])
				b[at] ^= 1 << (at % 8)
				d.cfg.Dir = filepath.Join(t.TempDir(), "m")
				d.open()
				d.depot.set(func(p *depot) { p.files = maps.Clone(files); p.files[name] = b })
				v, _, err := d.client.Sync(t.Context(), start())
				if !fault.Is(err, fault.Untrusted) || v != nil && len(v.Offers("pilot")) != 0 {
					t.Fatalf("byte %d of %d: %v: %v", at, len(b), fault.Of(err), err)
				}
				d.depot.set(func(p *depot) { p.files = files })
				d.good()
			}
		})
	}
}

func current(o *metadatatest.Org, name string) bool {
	repos := map[string]*tuftest.Repo{metadata.ApprovalsPath: o.Approvals}
	for p, r := range o.Publishers {
		repos[metadata.CataloguesPath+p] = r.Catalogue
	}
	for base, r := range repos {
		roles := append(slices.Collect(maps.Keys(r.Roles)), "root", "snapshot", "timestamp")
		for _, role := range roles {
			if name == base+"/"+r.Name(role) {
				return true
			}
		}
	}
	return strings.Contains(name, "/targets/")
}

func TestDepotOfGarbage(t *testing.T) {
	t.Parallel()
	for name, garbage := range map[string]string{
		"HTML": "<!DOCTYPE html><title>Welcome to our wireless</title>", "empty": "", "zeros": string(make([]byte, 3000)), "JSON": `{"ok":true}`,
	} {
		d := newDevice(t)
		d.depot.set(func(p *depot) { p.all = []byte(garbage) })
		if garbage == "" {
			d.depot.set(func(p *depot) { p.all = []byte{} })
		}
		v, _, err := d.client.Sync(t.Context(), start())
		if v != nil || !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: %v: %v", name, fault.Of(err), err)
		}
		d.depot.set(func(p *depot) { p.all = nil })
		d.good()
	}
}

func TestDepotAway(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	d.depot.set(func(p *depot) { p.away = true })
	if v, _, err := d.client.Sync(t.Context(), start()); v != nil || !fault.Is(err, fault.Unavailable) {
		t.Errorf("before anything was known: %v %v", v, err)
	}
	d.depot.set(func(p *depot) { p.away = false })
	d.good()
	d.depot.set(func(p *depot) { p.away = true })
	d.open() // a restart
	v, b, err := d.client.Sync(t.Context(), start().Add(time.Hour))
	if v == nil || len(v.Offers("pilot")) != 1 || !fault.Is(err, fault.Unavailable) || len(b.Approvals) == 0 {
		t.Errorf("with what was known: %v %v", v, err)
	}
	v, _, err = d.client.Sync(t.Context(), start().Add(tuftest.Lifetime+time.Hour))
	if v != nil || !fault.Is(err, fault.Unavailable) {
		t.Errorf("after it ran out: %v %v", v, err)
	}
	write(t, filepath.Join(d.cfg.Dir, "bundle"), []byte("damaged"))
	if v, _, err := d.client.Last(start()); v != nil || !fault.Is(err, fault.Unavailable) {
		t.Errorf("damaged: %v %v", v, err)
	}
	d.depot.set(func(p *depot) { p.away = false })
	d.good()
}

// TestAnAttackIsNotCoveredByWhatWasKnown: last week's view must not hide that somebody is tampering now.
func TestAnAttackIsNotCoveredByWhatWasKnown(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	d.good()
	flip(d.org.Approvals, "timestamp")
	d.publish()
	if v, _, err := d.client.Sync(t.Context(), start()); v != nil || !fault.Is(err, fault.Untrusted) {
		t.Errorf("view %v, err %v", v, err)
	}
}

func TestCatalogueAwayAtTheDepot(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	catalogue := func(name string, _ []byte) bool { return strings.HasPrefix(name, metadata.CataloguesPath) }
	d.depot.set(func(p *depot) { maps.DeleteFunc(p.files, catalogue) })
	v, _, err := d.client.Sync(t.Context(), start())
	if v == nil || len(v.Offers("pilot")) != 0 || !fault.Is(err, fault.Unavailable) {
		t.Errorf("never seen: %v %v", v, err)
	}
	d.publish()
	d.good()
	d.depot.set(func(p *depot) { maps.DeleteFunc(p.files, catalogue) })
	v, _, err = d.client.Sync(t.Context(), start())
	if err != nil || len(v.Offers("pilot")) != 1 {
		t.Errorf("seen before: %v %v", v, err)
	}
}

func TestExpiredCatalogueStillHolds(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	d.pub.Catalogue.Timestamp.Signed.Expires = start().Add(time.Minute)
	d.pub.Catalogue.PublishTimestamp()
	tool := d.pub.Release("tool", "1", 1, payload())
	d.org.Approve("pilot", d.pub, tool, func(a *metadata.Approval) { a.Action = metadata.ActionHold })
	d.publish()
	v, _, err := d.client.Sync(t.Context(), start().Add(time.Hour))
	if err != nil || len(v.Holds("pilot")) != 1 || len(v.Offers("pilot")) != 0 {
		t.Fatalf("holds %v, err %v", v, err)
	}
	if r := v.Refusals("pilot"); len(r) != 1 || !fault.Is(r[0].Err, fault.Unavailable) {
		t.Errorf("refusals %v", r)
	}
	if c, _ := v.Catalogue("acme"); c.Stale() == nil || c.Err() != nil || !c.Expires().Equal(start().Add(time.Minute)) {
		t.Errorf("catalogue: stale %v, err %v, expires %v", c.Stale(), c.Err(), c.Expires())
	}
}

// TestWrongServer: what a device says when somebody else answers for the depot.
func TestWrongServer(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	other := metadatatest.NewAuthority(t, "mitmproxy", start())
	d.cfg.Depots = []string{other.Serve(d.depot, other.Server(nil), nil).URL}
	d.open()
	v, _, err := d.client.Sync(t.Context(), start())
	if v != nil || !is[*pinned.PinError](err) || !fault.Is(err, fault.Untrusted) || !strings.Contains(fault.Hint(err), "TLS inspection") {
		t.Errorf("%v, hint %q", err, fault.Hint(err))
	}
}

func TestMemoryOfPublishers(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	d.org.Trust("gone")
	d.org.Trust("newer")
	d.publish()
	d.good()
	delete(d.org.Approvals.Roles["targets"].Signed.Targets, "publisher/gone")
	changeTarget(t, d.org.Approvals, "targets", "publisher/newer", func(m map[string]any) { m["crit"] = []string{"quorum"} })
	d.publish()
	v, _, err := d.client.Sync(t.Context(), start())
	if len(v.Offers("pilot")) != 1 || !fault.Is(err, fault.Refused) {
		t.Errorf("offers %v, err %v", v.Offers("pilot"), err)
	}
	// What is not trusted any more is forgotten; what only a newer agent can read is not, or it could be rolled back.
	for publisher, want := range map[string]int{"acme": 1, "gone": 0, "newer": 1} {
		if got, _ := filepath.Glob(filepath.Join(d.cfg.Dir, "catalogue-"+publisher+"-*")); len(got) != want {
			t.Errorf("%s: %v", publisher, got)
		}
	}
}

func TestLayer(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	c := d.good().Offers("pilot")[0].Content()
	m, err := d.client.Layer(t.Context(), c)
	if err != nil || m.Root() != c.Root() {
		t.Fatalf("layer: %v", err)
	}
	name := "/v1/layer/" + c.Root().String()
	layer := d.depot.files[name]
	for what, bad := range map[string]struct {
		b    []byte
		kind fault.Kind
	}{
		"flipped": {append([]byte{layer[0] ^ 1}, layer[1:]...), fault.Untrusted}, "cut": {layer[1:], fault.Unavailable}, "longer": {append(slices.Clone(layer), 0), fault.Unavailable},
		"HTML": {[]byte("<html>"), fault.Unavailable}, "gone": {nil, fault.Unavailable},
	} {
		d.depot.set(func(p *depot) {
			p.files[name] = bad.b
			if bad.b == nil {
				delete(p.files, name)
			}
		})
		if _, err := d.client.Layer(t.Context(), c); !fault.Is(err, bad.kind) {
			t.Errorf("%s: %v: %v", what, fault.Of(err), err)
		}
	}
	one, err := piecehash.NewContent(c.Root(), 5, piecehash.MinPieceLength)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := d.client.Layer(t.Context(), one); err != nil || m.Pieces() != 1 {
		t.Errorf("one piece: %v", err)
	}
}

func TestClientConfiguration(t *testing.T) {
	t.Parallel()
	good := newDevice(t).cfg
	for name, change := range map[string]func(c *metadata.ClientConfig){
		"no depot":   func(c *metadata.ClientConfig) { c.Depots = nil },
		"plain HTTP": func(c *metadata.ClientConfig) { c.Depots = []string{"http://depot"} },
		"no pin":     func(c *metadata.ClientConfig) { c.Pins = nil },
		"no CA":      func(c *metadata.ClientConfig) { c.CA = nil },
		"no folder":  func(c *metadata.ClientConfig) { c.Dir = "" },
		"bad ring":   func(c *metadata.ClientConfig) { c.Ring = "../x" },
		"query":      func(c *metadata.ClientConfig) { c.Depots = []string{"https://depot/?x=1"} },
		"password":   func(c *metadata.ClientConfig) { c.Depots = []string{"https://a:b@depot/"} },
	} {
		cfg := good
		change(&cfg)
		if _, err := metadata.NewClient(cfg); !fault.Is(err, fault.Usage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestMetadataCompressedInTransit: a server may send zstd to who asks for it, but no bomb.
func TestMetadataCompressedInTransit(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	bomb := false
	ca := metadatatest.NewAuthority(t, "Dunlin depot", start())
	server := ca.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, ok := d.depot.files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if r.Header.Get("Accept-Encoding") != "zstd" {
			t.Errorf("asked for %q", r.Header.Get("Accept-Encoding"))
		}
		w.Header().Set("Content-Encoding", "zstd")
		enc, err := zstd.NewWriter(w)
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = enc.Write(b)
		if bomb {
			_, _ = io.CopyN(enc, zeros{}, 64<<20)
		}
		_ = enc.Close()
	}), ca.Server(nil), nil)
	d.cfg.Depots, d.cfg.CA, d.cfg.Pins = []string{server.URL}, ca.PEM, []metadata.Pin{ca.Pin()}
	d.open()
	d.good()
	bomb = true
	if _, _, err := d.client.Sync(t.Context(), start()); !fault.Is(err, fault.Untrusted) {
		t.Errorf("a bomb: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestSyncIsCancelled(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	block := make(chan struct{})
	t.Cleanup(func() { close(block) })
	ca := metadatatest.NewAuthority(t, "Dunlin depot", start())
	server := ca.Serve(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-block:
		case <-r.Context().Done():
		}
	}), ca.Server(nil), nil)
	d.cfg.Depots, d.cfg.CA, d.cfg.Pins = []string{server.URL}, ca.PEM, []metadata.Pin{ca.Pin()}
	d.open()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := d.client.Sync(ctx, start()); !fault.Is(err, fault.Unavailable) || ctx.Err() == nil {
		t.Errorf("got %v", err)
	}
}
