package httpfallback

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	fetchtest.TestOrigin(t, func(t *testing.T, data []byte, m *piecehash.Manifest) fetch.Origin {
		return newOrigin(t, newGate(t, GateConfig{}), m, newWeb(t, data).URL)
	})
}

// The counts equal the access log exactly as long as no connection breaks, and few connections do the work.
func TestCountsEqualAccessLog(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(1, 200*piece+77, piece)
	w := newWeb(t, data)
	g := newGate(t, GateConfig{MaxStreams: 3})
	o := newOrigin(t, g, m, w.URL+"/some/file")

	const each = 8
	sinks := make([]*fetchtest.Sink, 0, 32)
	var wg sync.WaitGroup
	for first := 0; first < m.Pieces(); first += each {
		s := &fetchtest.Sink{M: m}
		sinks = append(sinks, s)
		wg.Go(func() {
			if err := o.Fetch(t.Context(), first, min(each, m.Pieces()-first), fetch.Own, s); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var reported int64
	for _, s := range sinks {
		reported += s.Bytes()
	}
	useful, waste := settled(t, g)
	if useful != m.Length() || waste != 0 || reported != m.Length() || w.log.Load() != m.Length() {
		t.Errorf("useful %d, waste %d, reported %d, access log %d; the content has %d bytes", useful, waste, reported, w.log.Load(), m.Length())
	}
	if n := w.connections(); n > 3 {
		t.Errorf("%d connections for 3 streams", n)
	}
	if n := w.requests.Load(); n != int64(len(sinks)) {
		t.Errorf("%d requests for %d ranges", n, len(sinks))
	}
}

func TestReasonsAreCounted(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(2, 8*piece, piece)
	g := newGate(t, GateConfig{})
	o := newOrigin(t, g, m, newWeb(t, data).URL)
	for i, why := range fetch.Reasons() {
		if err := o.Fetch(t.Context(), i, i+1, why, &fetchtest.Sink{M: m}); err != nil {
			t.Fatal(err)
		}
	}
	for i, why := range fetch.Reasons() {
		if c := g.Counts()[why]; c.Useful != int64(i+1)*piece || c.Waste != 0 {
			t.Errorf("%v: %+v, want %d useful bytes", why, c, (i+1)*piece)
		}
	}
	got := scrape(t, g)
	for i, why := range fetch.Reasons() {
		if n := got["dunlin_origin_bytes_total "+why.String()]; n != float64(i+1)*piece {
			t.Errorf("%v: the metric says %v bytes", why, n)
		}
		if n, shown := got["dunlin_fallbacks_total "+why.String()]; shown != (why != fetch.Own) || shown && n != 1 {
			t.Errorf("%v: %v fallbacks, shown: %v", why, n, shown)
		}
	}
	if n := got["dunlin_origin_requests_total done"]; n != 4 {
		t.Errorf("the metric says %v requests", n)
	}
}

func TestMetricNames(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for name := range scrape(t, newGate(t, GateConfig{})) {
		name, _, _ = strings.Cut(name, " ")
		seen[name] = true
	}
	want := "dunlin_fallbacks_total dunlin_origin_bytes_total dunlin_origin_metadata_bytes_total dunlin_origin_mirrors_dropped_total dunlin_origin_requests_total dunlin_origin_streams"
	if got := strings.Join(slices.Sorted(maps.Keys(seen)), " "); got != want {
		t.Errorf("metrics are %s, want %s", got, want)
	}
}

// scrape returns the gate's metrics by name and label values.
func scrape(t *testing.T, g *Gate) map[string]float64 {
	reg := prometheus.NewPedanticRegistry()
	for _, c := range g.Metrics() {
		reg.MustRegister(c)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return got
}

func TestBadRange(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(3, 4*piece, piece)
	o := newOrigin(t, newGate(t, GateConfig{}), m, newWeb(t, data).URL)
	for _, r := range [][2]int{{-1, 1}, {0, 0}, {0, 5}, {4, 1}, {3, -1}} {
		if err := o.Fetch(t.Context(), r[0], r[1], fetch.Own, &fetchtest.Sink{M: m}); fault.Of(err) != fault.Internal {
			t.Errorf("range %v: %v", r, err)
		}
	}
}

func TestUnusableURLs(t *testing.T) {
	t.Parallel()
	_, m := fetchtest.Content(3, 4*piece, piece)
	g := newGate(t, GateConfig{})
	bad := []string{"", "ftp://h/f", "file:///etc/passwd", "http://", "/relative", "http://u:p@h/", "http://h:port/", "http://h/" + strings.Repeat("x", maxURL), "http://h/%zz"}
	if _, err := NewOrigin(OriginConfig{Gate: g, Content: m.Content, URLs: bad, Hints: bad}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("error %v, want unavailable", err)
	}
	o, err := NewOrigin(OriginConfig{Gate: g, Content: m.Content, URLs: append(bad, "http://a/f", "http://a/f#x"), Hints: []string{"https://b/f", "http://a/f"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(o.mirrors) != 2 {
		t.Errorf("%d mirrors, want 2: the same URL counts once", len(o.mirrors))
	}
}

func TestClosedGate(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(4, piece, piece)
	w := newWeb(t, data)
	g := newGate(t, GateConfig{Closed: true})
	if err := newOrigin(t, g, m, w.URL).Fetch(t.Context(), 0, 1, fetch.NoPeers, &fetchtest.Sink{M: m}); !fault.Is(err, fault.Refused) {
		t.Errorf("fetch: %v, want refused", err)
	}
	if _, err := g.Get(t.Context(), w.URL, 1<<20); !fault.Is(err, fault.Refused) {
		t.Errorf("get: %v, want refused", err)
	}
	if n := w.requests.Load(); n != 0 {
		t.Errorf("%d requests came through a closed gate", n)
	}
}

// A cancelled range costs no more than what was on its way.
func TestCancelStopsReading(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(5, 64<<20, 1<<20)
	w := newWeb(t, data)
	g := newGate(t, GateConfig{})
	o := newOrigin(t, g, m, w.URL)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := &fetchtest.Sink{M: m, After: func(i int) {
		if i == 1 {
			cancel()
		}
	}}
	if err := o.Fetch(ctx, 0, 64, fetch.Own, s); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	useful, waste := settled(t, g)
	if useful != 2<<20 || waste > readSize {
		t.Errorf("useful %d, waste %d: it read on after the cancel", useful, waste)
	}
	w.CloseClientConnections()
	w.Close() // waits for the handler, so that its log is final
	t.Logf("the server wrote %d bytes more than were read", w.log.Load()-g.Total())
	if over := w.log.Load() - g.Total(); over > 32<<20 {
		t.Errorf("the server wrote %d bytes more than were read", over)
	}
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(6, 2<<20, 64<<10)
	g := newGate(t, GateConfig{Rate: 4 << 20})
	o := newOrigin(t, g, m, newWeb(t, data).URL)
	start := time.Now()
	var wg sync.WaitGroup
	for k := range 2 {
		wg.Go(func() {
			if err := o.Fetch(t.Context(), k*16, 16, fetch.Own, &fetchtest.Sink{M: m}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	// Two streams share one limit: 2 MiB less the burst at 4 MiB/s. A slow machine takes longer, never less.
	if took, least := time.Since(start), 300*time.Millisecond; took < least {
		t.Errorf("took %v, with the limit it takes at least %v", took, least)
	}
	g.SetRate(0)
	if err := o.Fetch(t.Context(), 0, 32, fetch.Own, &fetchtest.Sink{M: m}); err != nil {
		t.Error(err)
	}
}

// The streams of all content share the slots.
func TestMaxStreams(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(8, 12*piece, piece)
	var mu sync.Mutex
	now, most := 0, 0
	url := serve(t, func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		time.Sleep(10 * time.Millisecond)
		mu.Lock()
		now--
		mu.Unlock()
		http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(data))
	})
	g := newGate(t, GateConfig{MaxStreams: 2})
	o := newOrigin(t, g, m, url)
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			if err := o.Fetch(t.Context(), i, 1, fetch.Own, &fetchtest.Sink{M: m}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most > 2 {
		t.Errorf("%d requests at once, 2 are allowed", most)
	}
}

// What a request allocates does not grow with what it brings.
func TestAllocations(t *testing.T) {
	data, m := fetchtest.Content(9, 8<<20, 256<<10)
	g := NewGate(GateConfig{})
	defer g.Close()
	o := newOrigin(t, g, m, newWeb(t, data).URL)
	s := &discard{}
	var err error
	n := testing.AllocsPerRun(5, func() {
		if e := o.Fetch(t.Context(), 0, 32, fetch.Own, s); e != nil {
			err = e
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.0f allocations for 8 MiB, server and client together", n)
	if n > 600 {
		t.Errorf("%.0f allocations for one range of 32 pieces", n)
	}
}

type discard struct{}

func (discard) Progress(context.Context, int) {}
func (discard) Piece(int, []byte) error       { return nil }

// A server without ranges is read once from its beginning, whatever the order of the ranges.
func TestServerWithoutRanges(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(10, 60*piece+3, piece)
	w := &web{data: data, conns: make(map[string]bool)}
	w.Server = newPlainServer(t, w)
	g := newGate(t, GateConfig{})
	o := newOrigin(t, g, m, w.URL)

	s := &fetchtest.Sink{M: m}
	for _, r := range [][2]int{{8, 4}, {0, 4}, {4, 4}, {30, 10}, {20, 10}, {12, 8}, {40, 21}} {
		if err := o.Fetch(t.Context(), r[0], r[1], fetch.NoPeers, s); err != nil {
			t.Fatalf("range %v: %v", r, err)
		}
	}
	for i := range m.Pieces() {
		if s.Have(i) == nil {
			t.Errorf("piece %d was not had", i)
		}
	}
	if n := w.requests.Load(); n != 2 {
		t.Errorf("%d requests, want 2: one shows that there are no ranges, one brings the file", n)
	}
	if useful, waste := settled(t, g); useful != m.Length() || waste != 0 {
		t.Errorf("useful %d, waste %d, want %d and 0", useful, waste, m.Length())
	}
	// Whoever asks again is not put off with what was delivered before.
	again := &fetchtest.Sink{M: m}
	for range 2 {
		if err := o.Fetch(t.Context(), 50, 2, fetch.NoPeers, again); err != nil {
			t.Fatal(err)
		}
	}
	if again.Have(50) == nil || again.Have(51) == nil {
		t.Error("pieces that were asked for again were not delivered again")
	}
}

// The whole file in one range is as good with a 200.
func TestWholeFileWith200(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(11, 5*piece, piece)
	w := &web{data: data, conns: make(map[string]bool)}
	w.Server = newPlainServer(t, w)
	o := newOrigin(t, newGate(t, GateConfig{}), m, w.URL)
	s := &fetchtest.Sink{M: m}
	if err := o.Fetch(t.Context(), 0, 5, fetch.NoPeers, s); err != nil {
		t.Fatal(err)
	}
	if n := w.requests.Load(); n != 1 || s.Bytes() != m.Length() {
		t.Errorf("%d requests, %d bytes", n, s.Bytes())
	}
}

func TestGet(t *testing.T) {
	t.Parallel()
	g := newGate(t, GateConfig{})
	url := serve(t, func(w http.ResponseWriter, req *http.Request) {
		switch req.URL.Path {
		case "/ten":
			io.WriteString(w, "0123456789")
		case "/chunked":
			w.(http.Flusher).Flush()
			io.WriteString(w, "0123456789")
		case "/endless":
			for req.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<10)); err != nil {
					return
				}
			}
		case "/gzip":
			w.Header().Set("Content-Encoding", "gzip")
		case "/moved":
			http.Redirect(w, req, "/ten", http.StatusFound)
		case "/loop":
			http.Redirect(w, req, "/loop", http.StatusMovedPermanently)
		default:
			http.NotFound(w, req)
		}
	})
	for path, want := range map[string]string{"/ten": "", "/moved": "", "/chunked": "", "/endless": "more than", "/gzip": "encoded", "/loop": "redirects", "/none": "404"} {
		b, err := g.Get(t.Context(), url+path, 10)
		if want == "" && (err != nil || string(b) != "0123456789") {
			t.Errorf("%s: %q, %v", path, b, err)
		}
		if want != "" && (!fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: error %v, want unavailable with %q", path, err, want)
		}
	}
	if _, err := g.Get(t.Context(), url+"/ten", 9); err == nil {
		t.Error("a file over the limit was taken")
	}
	if _, err := g.Get(t.Context(), "gopher://x/", 9); !fault.Is(err, fault.Usage) {
		t.Errorf("a wrong URL gives %v", err)
	}
	if _, err := g.Get(t.Context(), "http://"+deadAddr(t), 9); !fault.Is(err, fault.Unavailable) {
		t.Errorf("nobody there gives %v", err)
	}
	if g.Total() != 0 || scrape(t, g)["dunlin_origin_metadata_bytes_total"] == 0 {
		t.Error("small files are to be counted apart from content")
	}
}

func TestFetchLayer(t *testing.T) {
	t.Parallel()
	_, m := fetchtest.Content(12, 9*piece, piece)
	layers := http.NewServeMux()
	put := func(base string, b []byte) {
		layers.HandleFunc(base+"/layer/"+m.Root().String(), func(w http.ResponseWriter, _ *http.Request) { w.Write(b) })
	}
	wrong := bytes.Clone(m.Layer())
	wrong[40] ^= 1
	put("/good", m.Layer())
	put("/wrong", wrong)
	put("/short", m.Layer()[:32])
	url := serve(t, layers.ServeHTTP)
	g := newGate(t, GateConfig{})
	get := func(names ...string) (*piecehash.Manifest, error) {
		bases := make([]string, 0, len(names))
		for _, n := range names {
			bases = append(bases, url+"/"+n)
		}
		return FetchLayer(t.Context(), g, bases, m.Content)
	}
	for _, names := range [][]string{{"good"}, {"good/"}, {"wrong", "good"}, {"none", "short", "good"}} {
		if got, err := get(names...); err != nil || got.PieceHash(8) != m.PieceHash(8) {
			t.Errorf("%v: %v", names, err)
		}
	}
	for name, kind := range map[string]fault.Kind{"wrong": fault.Untrusted, "none": fault.Unavailable, "short": fault.Unavailable} {
		if _, err := get(name); !fault.Is(err, kind) {
			t.Errorf("%s: %v, want %v", name, err, kind)
		}
	}
	_, one := fetchtest.Content(13, 100, piece)
	if _, err := FetchLayer(t.Context(), g, nil, one.Content); err != nil {
		t.Errorf("content of one piece needs no layer: %v", err)
	}
}

// deadAddr returns an address at which nobody listens.
func deadAddr(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
