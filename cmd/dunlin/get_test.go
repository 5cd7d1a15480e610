package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store"
)

func TestParseSize(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]int64{
		"1": 1, "500000": 500000, "7B": 7, "500k": 500 << 10, "500K": 500 << 10, "1M": 1 << 20, "10MiB": 10 << 20, "10MB": 10e6,
		"3kB": 3000, "2KiB": 2048, "1G": 1 << 30, "1GB": 1e9, "1024GiB": 1 << 40, "1099511627776": 1 << 40, "007": 7,
	} {
		if got, err := parseSize(s); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{
		"", "M", "-1", "+1", "1.5M", "1 M", " 1M", "1M ", "1m", "1mb", "1Mb", "1MIB", "0x10", "1e6", "1T", "0", "0M", "1025GiB",
		"1099511627777", "99999999999999999999", "9223372036854775808", "١", "1,000",
	} {
		if got, err := parseSize(s); err == nil {
			t.Errorf("%q was taken as %d", s, got)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"1", "1M", "10MiB", "0", "-1", "99999999999999999999G"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := parseSize(s); err == nil && (n < 1 || n > maxSize) {
			t.Errorf("%q is %d", s, n)
		}
	})
}

func TestLoadMetainfo(t *testing.T) {
	t.Parallel()
	_, m := fetchtest.Content(1, 100_000, piecehash.MinPieceLength)
	good, err := (&piecehash.Metainfo{Name: "f", Manifest: m}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	lie := bytes.Clone(good)
	lie[bytes.Index(lie, m.Layer())+5] ^= 1
	files := map[string][]byte{
		"good":  good,
		"lie":   lie,
		"v1":    []byte("d4:infod6:lengthi5e4:name1:x12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaaee"),
		"html":  []byte("<html>"),
		"empty": nil,
		"large": make([]byte, piecehash.MaxMetainfoSize+1),
	}
	dir := t.TempDir()
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	web := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer web.Close()
	gate := httpfallback.NewGate(httpfallback.GateConfig{})
	defer gate.Close()
	tests := []struct {
		name      string
		file, url fault.Kind // 0: it is taken
	}{
		{"good", 0, 0},
		{"lie", fault.Untrusted, fault.Untrusted},
		{"v1", fault.Refused, fault.Refused},
		{"html", fault.Usage, fault.Unavailable},
		{"empty", fault.Usage, fault.Unavailable},
		{"large", fault.Usage, fault.Unavailable},
		{"absent", fault.Usage, fault.Unavailable},
	}
	for _, tt := range tests {
		for source, want := range map[string]fault.Kind{filepath.Join(dir, tt.name): tt.file, web.URL + "/" + tt.name: tt.url} {
			m, err := loadMetainfo(t.Context(), gate, source)
			if fault.Of(err) != want || (err == nil) != (m != nil) {
				t.Errorf("%s: %v, %v, want %v", source, m, err, want)
			}
		}
	}
}

// A fetch waits for the time that the user has named, and no longer than the user.
func TestStartAt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		g := &getter{opt: getOptions{at: began.Add(5 * time.Hour)}, start: began}
		g.awaitStart(t.Context())
		if waited := time.Since(began); waited != 5*time.Hour || !g.start.Equal(time.Now()) {
			t.Errorf("waited %v; counts from %v", waited, g.start.Sub(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		g.opt.at = time.Now().Add(time.Hour)
		if g.awaitStart(ctx); time.Since(began) != 5*time.Hour+time.Minute {
			t.Errorf("an interrupted wait lasted %v", time.Since(began)-5*time.Hour)
		}
	})
}

func TestPace(t *testing.T) {
	t.Parallel()
	p := pace{every: time.Second}
	now := time.Unix(1000, 0)
	shown := 0
	for range 101 { // ten seconds at 1 MiB/s
		if p.step(now, int64(now.Sub(time.Unix(1000, 0)).Seconds()*(1<<20))) {
			shown++
		}
		now = now.Add(100 * time.Millisecond)
	}
	if shown != 10 || p.rate < 0.99*(1<<20) || p.rate > 1.01*(1<<20) {
		t.Errorf("shown %d times, rate %.0f", shown, p.rate)
	}
}

func TestTexts(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 5 << 20: "5.0 MiB", 1000 << 20: "1.0 GiB", 3 << 40: "3.0 TiB"} {
		if got := sizeText(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
	s := fetch.Stats{Content: 10 << 20, Resumed: 2 << 20, From: fetch.From{Origin: 1 << 20, Peers: 3 << 20}, Waste: 1 << 20}
	if got := describe(s, 1<<20); got != "1.0 MiB/s, ETA 5s, origin 1.0 MiB, peers 3.0 MiB" {
		t.Error(got)
	}
	if got := describe(fetch.Stats{Content: 1}, 0); got != "0 B/s, ETA ?" {
		t.Error(got)
	}
}

// Each view says the same about the same download, in its own way.
func TestViews(t *testing.T) {
	t.Parallel()
	play := func(v getView) {
		v.listening([]string{"/ip4/127.0.0.1/tcp/1/p2p/X"})
		v.progress(fetch.Stats{Content: 100})
		time.Sleep(2 * time.Millisecond)
		v.progress(fetch.Stats{Content: 100, From: fetch.From{Origin: 50}})
		v.done(getDone{Event: "done", File: "f", Bytes: 100, From: fetch.From{Origin: 60, Peers: 40}})
		v.ended(7)
		v.close()
	}
	var out, words bytes.Buffer
	play(&eventView{out: &out, pace: pace{every: time.Millisecond}})
	var names []string
	for line := range strings.Lines(out.String()) {
		var e struct{ Event string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		names = append(names, e.Event)
	}
	if got := fmt.Sprint(names); got != "[listening progress done ended]" {
		t.Errorf("events %s", got)
	}

	out.Reset()
	play(&lineView{out: &out, err: &words, pace: pace{every: time.Millisecond}})
	if !strings.Contains(out.String(), "origin 60 B, cache 0 B, peers 40 B") || !strings.Contains(out.String(), "served 7 B") {
		t.Error(out.String())
	}
	if !strings.Contains(words.String(), " 50% of 100 B") || !strings.Contains(words.String(), "listening on /ip4") {
		t.Error(words.String())
	}

	words.Reset()
	play(&barView{lineView: lineView{out: &out, err: &words, pace: pace{every: time.Millisecond}}})
	if !strings.Contains(words.String(), "50%") || !strings.Contains(words.String(), "origin 50 B") {
		t.Errorf("%q", words.String())
	}
}

func TestQuiet(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	log := slog.New(slog.NewTextHandler(&b, nil))
	q := quiet(log, false).With("a", 1).WithGroup("g")
	q.Info("not this")
	q.Warn("but this")
	quiet(log, true).Info("and that")
	if got := b.String(); strings.Contains(got, "not this") || !strings.Contains(got, "but this") || !strings.Contains(got, "and that") {
		t.Error(got)
	}
}

// Sweep drops every damaged piece of an earlier run at once.
func TestSweep(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(2, 10*piecehash.MinPieceLength, piecehash.MinPieceLength)
	path := filepath.Join(t.TempDir(), "f")
	begin := func() *store.Partial {
		p, err := store.BeginAt(context.Background(), path, m, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := begin()
	for i := range 8 {
		if _, err := p.Put(i, data[m.Offset(i):m.Offset(i)+m.PieceSize(i)]); err != nil {
			t.Fatal(err)
		}
	}
	p.Close()
	b, err := os.ReadFile(path + ".part")
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{1, 4, 7} {
		b[m.Offset(i)+9] ^= 1
	}
	if err := os.WriteFile(path+".part", b, 0o600); err != nil {
		t.Fatal(err)
	}
	p = begin()
	defer p.Close()
	if err := sweep(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if have := p.Bitmap(); have.Count() != 5 || have.Has(1) || have.Has(4) || have.Has(7) {
		t.Errorf("%d pieces are left", have.Count())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := sweep(ctx, p); err == nil {
		t.Error("the end of the context was not noticed")
	}
}
