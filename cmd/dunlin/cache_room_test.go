package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store"
)

// dunlin runs a command and returns what it printed.
func dunlin(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	var b bytes.Buffer
	app := newApp()
	app.Writer, app.ErrWriter = &b, &b
	err = app.RunContext(t.Context(), flagsFirst(app, append([]string{"dunlin"}, args...)))
	return b.String(), err
}

// says runs a command that succeeds.
func says(t *testing.T, args ...string) string {
	t.Helper()
	out, err := dunlin(t, args...)
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return out
}

// cacheFolder is a node's folder with contents of so many bytes in its store; of the last one the last piece is missing.
func cacheFolder(t *testing.T, sizes ...int64) (dir string, m []*piecehash.Manifest) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "node")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(cacheOptions{dir: dir}.store(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for n, size := range sizes {
		data, manifest := fetchtest.Content(uint64(n), size, 16<<10)
		m = append(m, manifest)
		p, err := s.Begin(t.Context(), manifest)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		left := 0
		if n == len(sizes)-1 {
			left = 1
		}
		for i := range manifest.Pieces() - left {
			if _, err := p.Put(i, data[manifest.Offset(i):][:manifest.PieceSize(i)]); err != nil {
				t.Fatal(err)
			}
		}
		if left == 0 {
			f, err := p.Seal(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return dir, m
}

func TestCacheList(t *testing.T) {
	dir, m := cacheFolder(t, 100_000, 50_000, 64<<10)
	meta := t.TempDir()
	b, err := (&piecehash.Metainfo{Name: "big.iso", Manifest: m[0]}).Encode()
	if err == nil {
		err = os.WriteFile(filepath.Join(meta, "x.torrent"), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got, want := says(t, "cache", "pin", "big.iso", "--content", meta, "--dir", dir), "pinned "+m[0].Root().String()+"\n"; got != want {
		t.Errorf("pin says %q, want %q", got, want)
	}
	says(t, "cache", "pin", m[2].Root().String(), "--dir", dir)
	says(t, "cache", "unpin", m[2].Root().String(), "--dir", dir)
	got := make(map[piecehash.Root]listed)
	for dec := json.NewDecoder(strings.NewReader(says(t, "cache", "list", "--json", "--dir", dir, "--content", meta))); dec.More(); {
		var l listed
		if err := dec.Decode(&l); err != nil {
			t.Fatal(err)
		}
		got[l.Root] = l
	}
	for i, want := range []listed{
		{Name: "big.iso", Whole: true, Length: 100_000, Pinned: true}, {Whole: true, Length: 50_000}, {Length: 64 << 10, Have: 0.75},
	} {
		l := got[m[i].Root()]
		if l.Bytes < l.Length || time.Since(l.Used) > time.Hour {
			t.Errorf("content %d: %+v", i, l)
		}
		l.Bytes, l.Used, l.Root = 0, time.Time{}, piecehash.Root{}
		if l != want {
			t.Errorf("content %d: %+v, want %+v", i, l, want)
		}
	}
	people := says(t, "cache", "list", "--dir", dir, "--content", meta)
	if lines := strings.Count(people, "\n"); lines != 3 || !strings.Contains(people, "  75%  ") || !strings.Contains(people, "pinned  big.iso") {
		t.Errorf("people read\n%s", people)
	}
}

func TestCacheRemove(t *testing.T) {
	dir, m := cacheFolder(t, 100_000, 50_000, 64<<10)
	says(t, "cache", "pin", m[0].Root().String(), "--dir", dir)
	out, err := dunlin(t, "cache", "remove", "--dir", dir, m[0].Root().String(), m[1].Root().String(), m[2].Root().String())
	if !fault.Is(err, fault.Refused) || !strings.Contains(fault.Hint(err), "unpin") {
		t.Errorf("removing what is pinned: %v", err)
	}
	if strings.Count(out, "removed ") != 2 || strings.Contains(out, "removed "+m[0].Root().String()) {
		t.Errorf("it says\n%s", out)
	}
	if got := says(t, "cache", "list", "--json", "--dir", dir); strings.Count(got, "\n") != 1 || !strings.Contains(got, m[0].Root().String()) {
		t.Errorf("left are\n%s", got)
	}
	for what, args := range map[string][]string{
		"gone":     {"cache", "remove", m[1].Root().String(), "--dir", dir},
		"unknown":  {"cache", "pin", "big.iso", "--dir", dir},
		"nothing":  {"cache", "pin", "--dir", dir},
		"no store": {"cache", "list", "--dir", t.TempDir()},
	} {
		if _, err := dunlin(t, args...); !fault.Is(err, fault.Usage) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestRoomFlags(t *testing.T) {
	for s, want := range map[string]int64{"1T": 1 << 40, "10TiB": 10 << 40, "2TB": 2e12, "500G": 500 << 30, "7": 7} {
		if got, err := parseLarge(s); err != nil || got != want {
			t.Errorf("%q: %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"T", "0T", "1.5T", "99999T", "-1T", "1TT", ""} {
		if got, err := parseLarge(s); err == nil {
			t.Errorf("%q was taken as %d", s, got)
		}
	}
	for s, want := range map[string]time.Duration{"30d": 720 * time.Hour, "12h": 12 * time.Hour, "1d": 24 * time.Hour} {
		if got, err := parseDays(s); err != nil || got != want {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"0d", "-1d", "d", "1.5d", "0", "-1h", "week", "99999d", ""} {
		if got, err := parseDays(s); err == nil {
			t.Errorf("%q was taken as %v", s, got)
		}
	}
	for _, args := range [][]string{{"--max-size", "0%"}, {"--max-size", "101%"}, {"--max-size", "x%"}, {"--max-size", "much"}, {"--max-age", "old"}} {
		if _, err := dunlin(t, append([]string{"cache", "run", "--dir", t.TempDir()}, args...)...); !fault.Is(err, fault.Usage) {
			t.Errorf("%v: %v", args, err)
		}
	}
}
