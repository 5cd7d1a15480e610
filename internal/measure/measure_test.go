package measure_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/internal/measure"
	"github.com/dunlin-project/dunlin/internal/measure/measuretest"
)

// TestTransferCountsEachByteOnce: what is on its way is counted when it is known what became of it, and no counter ever falls.
func TestTransferCountsEachByteOnce(t *testing.T) {
	t.Parallel()
	all := measure.NewTransfers()
	var useful int64
	meter := all.Begin(func(n int64) { useful += n })
	stats := func(origin, cache, peers fetch.Uses) fetch.Stats {
		return fetch.Stats{Uses: fetch.UsesBy{Origin: origin, Cache: cache, Peers: peers}, Elapsed: time.Second}
	}
	meter.Update(stats(fetch.Uses{Cut: 10}, fetch.Uses{}, fetch.Uses{}))
	if n := measuretest.Values(t, all.Collectors()...)[`dunlin_active_transfers{kind="download"}`]; n != 1 {
		t.Errorf("%v transfers are under way", n)
	}
	meter.Update(stats(fetch.Uses{Useful: 10, Cut: 3}, fetch.Uses{}, fetch.Uses{Useful: 5, Corrupt: 1}))
	meter.End(stats(fetch.Uses{Useful: 30, Cut: 2}, fetch.Uses{Useful: 7}, fetch.Uses{Useful: 5, Corrupt: 1, Duplicate: 4}), nil)
	got := measuretest.Values(t, all.Collectors()...)
	sum := 0.0
	for name, want := range map[string]float64{
		`dunlin_received_bytes_total{source="origin",use="useful"}`:  30,
		`dunlin_received_bytes_total{source="origin",use="cut"}`:     2,
		`dunlin_received_bytes_total{source="cache",use="useful"}`:   7,
		`dunlin_received_bytes_total{source="peer",use="useful"}`:    5,
		`dunlin_received_bytes_total{source="peer",use="corrupt"}`:   1,
		`dunlin_received_bytes_total{source="peer",use="duplicate"}`: 4,
		`dunlin_active_transfers{kind="download"}`:                   0,
		`dunlin_download_duration_seconds`:                           1,
	} {
		if v := got[name]; v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
	for name, v := range got {
		if strings.HasPrefix(name, "dunlin_received_bytes_total") {
			sum += v
		}
	}
	if useful != 42 || sum != 49 {
		t.Errorf("%d useful bytes of %v, want 42 of 49", useful, sum)
	}
}

func TestPieceChecksAreCounted(t *testing.T) {
	t.Parallel()
	all := measure.NewTransfers()
	b, manifest := fetchtest.Content(1, 50_000, 16<<10)
	p := all.Part(fetchtest.NewPart(manifest))
	piece := b[:16<<10]
	bad := append([]byte{b[0] ^ 1}, b[1:16<<10]...)
	for _, data := range [][]byte{bad, piece, piece, bad} {
		_, _ = p.Put(0, data)
	}
	got := measuretest.Values(t, all.Collectors()...)
	for result, want := range map[string]float64{"good": 1, "duplicate": 1, "corrupt": 2} {
		if v := got[`dunlin_piece_checks_total{result="`+result+`"}`]; v != want {
			t.Errorf("%s: %v, want %v", result, v, want)
		}
	}
}

// TestSharedNames: what several parts of a program count under one name fits into one registry.
func TestSharedNames(t *testing.T) {
	t.Parallel()
	measuretest.Text(t, measure.Sent(measure.LAN), measure.Sent(measure.HTTP), measure.Sent(measure.HTTPDevice),
		measure.Active("download"), measure.Active("answer"), measure.Peers(measure.LAN), measure.Build("agent", "1"), measure.Build("cache", "1"))
}

func TestServe(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	reg.MustRegister(measure.Build("agent", "9"))
	l, err := measure.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- measure.Serve(ctx, l, reg) }()
	for path, want := range map[string]int{"/metrics": http.StatusOK, "/": http.StatusNotFound} {
		res, err := http.Get("http://" + l.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != want || want == http.StatusOK && !strings.Contains(string(body), `version="9"} 1`) {
			t.Errorf("%s: %d %v\n%s", path, res.StatusCode, err, body)
		}
	}
	if _, err := measure.Listen(t.Context(), l.Addr().String()); !fault.Is(err, fault.Unavailable) || fault.Hint(err) == "" {
		t.Errorf("a taken address: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
