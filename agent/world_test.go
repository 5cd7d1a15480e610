package agent

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/metadatatest"
	"github.com/dunlin-project/dunlin/piecehash"
)

// world is everything around a device: an organisation with a publisher, its depot (a folder), and an origin by HTTP.
// All parts are the real ones but the network between the devices.
type world struct {
	t      *testing.T
	org    *metadatatest.Org
	acme   *metadatatest.Publisher
	depot  string
	target string // folder that updates are installed in
	origin *testOrigin
}

// newWorldWithoutOrigin has no goroutine that waits for the network, so that virtual time can pass in it.
func newWorldWithoutOrigin(t *testing.T) *world {
	t.Helper()
	w := &world{
		t: t, org: metadatatest.NewOrg(t, time.Now(), "pilot"), depot: filepath.Join(t.TempDir(), "depot"), target: t.TempDir(),
	}
	if err := os.Mkdir(w.depot, 0o755); err != nil {
		t.Fatal(err)
	}
	w.acme = w.org.Trust("acme")
	w.publish()
	return w
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := newWorldWithoutOrigin(t)
	w.origin = newOrigin(t)
	w.org.SetFleet(metadata.Fleet{Origins: []string{w.origin.URL}, Group: "lan"})
	w.publish()
	return w
}

// publish writes what is signed into the depot's folder.
func (w *world) publish() {
	w.t.Helper()
	if err := os.RemoveAll(filepath.Join(w.depot, "v1")); err != nil {
		w.t.Fatal(err)
	}
	w.org.Write(w.depot)
}

// release puts an update into the catalogue and its payload on the origin. It is installed at target/id.
func (w *world) release(id, version string, release int64, payload []byte, change func(*metadata.Update)) *metadata.Update {
	w.t.Helper()
	u := w.acme.Update(id, version, release, payload)
	u.Destination = filepath.Join(w.target, id)
	if change != nil {
		change(u)
	}
	w.acme.Add(u, payload)
	w.origin.add(u.Root, payload)
	w.publish()
	return u
}

// approve approves an update for the ring pilot.
func (w *world) approve(u *metadata.Update, change func(*metadata.Approval)) {
	w.t.Helper()
	w.org.Approve("pilot", w.acme, u, change)
	w.publish()
}

// offer is release and approve in one.
func (w *world) offer(id, version string, release int64, payload []byte) *metadata.Update {
	w.t.Helper()
	u := w.release(id, version, release, payload, nil)
	w.approve(u, nil)
	return u
}

// payload returns n bytes that do not repeat.
func payload(seed uint64, n int64) []byte {
	b, _ := fetchtest.Content(seed, n, piecehash.MinPieceLength)
	return b
}

// testDevice is a device of the world. Each call of once is a process of its own that ends.
type testDevice struct {
	w     *world
	cfg   Config
	swarm func(group string) (Swarm, error)
	log   bytes.Buffer
}

func (w *world) device(change func(*Config)) *testDevice {
	w.t.Helper()
	dir := filepath.Join(w.t.TempDir(), "state")
	d := &testDevice{w: w, cfg: Config{
		Depots: []string{"file://" + w.depot}, Ring: "pilot", StateDir: dir, Sharing: SharingOff, Metrics: Off, Page: Off, Control: Off,
	}}
	if change != nil {
		change(&d.cfg)
	}
	e := Enrolment{Depots: d.cfg.Depots, ApprovalsRoot: w.org.Anchor(), Ring: "pilot", StateDir: dir}
	if err := writeAnchors(stateDir(dir), e); err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (d *testDevice) agent() *Agent {
	d.w.t.Helper()
	a, err := New(d.cfg, Options{
		OpenSwarm: d.swarm, Version: "test",
		Log: slog.New(slog.NewTextHandler(&d.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		d.w.t.Fatal(err)
	}
	a.patience = 4 * time.Second
	return a
}

// once runs one cycle of a new process.
func (d *testDevice) once() (Status, error) {
	d.w.t.Helper()
	return d.onceFor(d.w.t.Context())
}

func (d *testDevice) onceFor(ctx context.Context) (Status, error) {
	d.w.t.Helper()
	a := d.agent()
	err := a.Once(ctx)
	return a.Status(), err
}

// must runs a cycle that has to end with the given kind of error; 0 is none.
func (d *testDevice) must(kind fault.Kind) Status {
	d.w.t.Helper()
	s, err := d.once()
	if fault.Of(err) != kind {
		d.w.t.Fatalf("cycle ended with %v (%v), want %v\n%s", err, fault.Of(err), kind, d.log.String())
	}
	return s
}

// has checks what is installed under an id; nil is nothing.
func (d *testDevice) has(id string, want []byte) {
	d.w.t.Helper()
	got, err := os.ReadFile(filepath.Join(d.w.target, id))
	switch {
	case want == nil && err == nil:
		d.w.t.Fatalf("%s is installed", id)
	case want != nil && err != nil:
		d.w.t.Fatalf("%s is not installed: %v\n%s", id, err, d.log.String())
	case !bytes.Equal(got, want):
		d.w.t.Fatalf("%s is installed with other bytes", id)
	}
}

// entry returns what a status says about a version of an update.
func entry(t *testing.T, s Status, id, version string) Update {
	t.Helper()
	for _, u := range s.Updates {
		if u.ID == id && u.Version == version {
			return u
		}
	}
	t.Fatalf("the status does not know %s %s: %+v", id, version, s.Updates)
	return Update{}
}

// sealed returns where a device's store has content.
func (d *testDevice) sealed(root piecehash.Root) string {
	return filepath.Join(stateDir(d.cfg.StateDir).content(), "sealed", root.String())
}

// testOrigin is a web server with content. It counts the bytes of bodies that it has sent, as an access log does.
type testOrigin struct {
	*httptest.Server

	mu      sync.Mutex // guards what follows
	content map[string][]byte
	sent    int64
	handle  http.HandlerFunc // answers instead, if set
}

func newOrigin(t *testing.T) *testOrigin {
	t.Helper()
	o := &testOrigin{content: make(map[string][]byte)}
	o.Server = httptest.NewServer(http.HandlerFunc(o.serve))
	t.Cleanup(o.Close)
	return o
}

func (o *testOrigin) add(root piecehash.Root, b []byte) { o.put("/content/"+root.String(), b) }

func (o *testOrigin) put(path string, b []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.content[path] = b
}

// misbehave has every request answered by h; nil is good behaviour again.
func (o *testOrigin) misbehave(h http.HandlerFunc) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.handle = h
}

// bytes returns how many bytes of bodies were sent since the last call.
func (o *testOrigin) bytes() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.sent
	o.sent = 0
	return n
}

func (o *testOrigin) serve(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	h, b := o.handle, o.content[r.URL.Path]
	o.mu.Unlock()
	cw := &countingWriter{ResponseWriter: w, o: o}
	switch {
	case h != nil:
		h(cw, r)
	case b == nil:
		http.NotFound(w, r)
	default:
		o.good(cw, r, b)
	}
}

func (o *testOrigin) good(w http.ResponseWriter, r *http.Request, b []byte) {
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}

// flip serves everything with one bit flipped.
func (o *testOrigin) flip(at int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		b := bytes.Clone(o.content[r.URL.Path])
		o.mu.Unlock()
		if b == nil {
			http.NotFound(w, r)
			return
		}
		b[at] ^= 1
		o.good(w, r, b)
	}
}

// stallAt answers ranges as it should, until it comes to the byte at: there it stalls until the other end goes away, after
// it has called stalled.
func (o *testOrigin) stallAt(at int, stalled func()) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		b := o.content[r.URL.Path]
		o.mu.Unlock()
		var first, last int
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last); err != nil {
			first, last = 0, len(b)-1
			w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		} else {
			w.Header().Set("Content-Length", strconv.Itoa(last-first+1))
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, len(b)))
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = w.Write(b[first:max(first, min(last+1, at))])
		if last < at {
			return
		}
		_ = http.NewResponseController(w).Flush()
		stalled()
		<-r.Context().Done()
	}
}

type countingWriter struct {
	http.ResponseWriter
	o *testOrigin
}

func (w *countingWriter) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b)
	w.o.mu.Lock()
	w.o.sent += int64(n)
	w.o.mu.Unlock()
	return n, err
}

// Unwrap lets http.ResponseController through.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// lanSwarm is a Swarm over a LAN in memory whose other devices have what they were given.
type lanSwarm struct {
	lan    *fetchtest.LAN
	layers map[piecehash.Root]*piecehash.Manifest
}

func (s *lanSwarm) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func (s *lanSwarm) Join(h Holding) (Room, error) {
	return &lanRoom{s.lan.Join("me", fetchtest.NewPart(h.Manifest()), nil)}, nil
}

func (s *lanSwarm) Layer(_ context.Context, c piecehash.Content) (*piecehash.Manifest, error) {
	if m := s.layers[c.Root()]; m != nil {
		return m, nil
	}
	return nil, fault.New(fault.Unavailable, "no device has the layer")
}

type lanRoom struct{ *fetchtest.Device }

func (r *lanRoom) Self() fetch.PeerID { return r.ID }

func (r *lanRoom) Close() error {
	r.Leave()
	return nil
}

// withPeers puts a device on a LAN with others that have the first pieces of a payload, all for a share of 1.
func (d *testDevice) withPeers(b []byte, peers int, share float64, change func(*fetchtest.Device)) {
	d.w.t.Helper()
	m, _, err := piecehash.SumFile(context.Background(), bytes.NewReader(b), int64(len(b)), piecehash.MinPieceLength, nil)
	if err != nil {
		d.w.t.Fatal(err)
	}
	lan := &fetchtest.LAN{Delay: time.Millisecond}
	for i := range peers {
		part := fetchtest.NewPart(m)
		for p := range int(float64(m.Pieces()) * share) {
			if _, err := part.Put(p, b[m.Offset(p):m.Offset(p)+m.PieceSize(p)]); err != nil {
				d.w.t.Fatal(err)
			}
		}
		peer := lan.Join(fetch.PeerID(strings.Repeat("p", i+1)), part, nil)
		if change != nil {
			change(peer)
		}
		d.w.t.Cleanup(peer.Leave)
	}
	s := &lanSwarm{lan: lan, layers: map[piecehash.Root]*piecehash.Manifest{m.Root(): m}}
	d.cfg.Sharing = SharingLAN
	d.swarm = func(string) (Swarm, error) { return s, nil }
}
