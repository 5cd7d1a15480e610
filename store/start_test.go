package store_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/cachenode"
	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store"
)

// starts are what make bench-start asks for.
var (
	startContents = flag.Int("contents", 2000, "contents of the store that BenchmarkStart starts with")
	startCold     = flag.Bool("cold", false, "empty the kernel's caches before each start (root; it disturbs whatever else runs)")
)

const startSize = 4 << 10 // bytes of each content

func smallContent(n int) []byte {
	b := bytes.Repeat([]byte{byte(n)}, startSize)
	binary.BigEndian.PutUint64(b, uint64(n))
	return b
}

func try(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// lay puts content where Seal would, and syncs nothing: for 200,000 of them that is the difference between seconds and hours.
func lay(t testing.TB, dir string, n int) *piecehash.Manifest {
	t.Helper()
	b := smallContent(n)
	m, _, err := piecehash.Sum(context.Background(), bytes.NewReader(b), piecehash.MinPieceLength)
	try(t, err)
	path := filepath.Join(dir, "sealed", m.Root().String())
	try(t, os.WriteFile(path, b, 0o400), os.WriteFile(path+".manifest", store.Record(m), 0o400))
	return m
}

// TestLaidContentIsTheRealThing: the bench's short cut makes the files that the store makes.
func TestLaidContentIsTheRealThing(t *testing.T) {
	t.Parallel()
	laid, real := filepath.Join(t.TempDir(), "laid"), filepath.Join(t.TempDir(), "real")
	_, err := store.Open(laid, store.Options{})
	try(t, err)
	m := lay(t, laid, 7)
	s, err := store.Open(real, store.Options{})
	try(t, err)
	p, err := s.Begin(t.Context(), m)
	try(t, err)
	_, err = p.Put(0, smallContent(7))
	try(t, err)
	f, err := p.Seal(t.Context())
	try(t, err, f.Close(), p.Close())
	for _, suffix := range []string{"", ".manifest"} {
		name := filepath.Join("sealed", m.Root().String()+suffix)
		a, err1 := os.ReadFile(filepath.Join(laid, name))
		b, err2 := os.ReadFile(filepath.Join(real, name))
		x, err3 := os.Stat(filepath.Join(laid, name))
		y, err4 := os.Stat(filepath.Join(real, name))
		if try(t, err1, err2, err3, err4); !bytes.Equal(a, b) || x.Mode() != y.Mode() {
			t.Errorf("%s: laid %d bytes %v, real %d bytes %v", name, len(a), x.Mode(), len(b), y.Mode())
		}
	}
}

// startEnv makes the test binary a node that starts with the store that the variable names.
const startEnv = "DUNLIN_STORE_START"

// started is what it says about itself.
type started struct {
	Answer   float64 // seconds until the first content had been answered by HTTP
	Known    float64 // seconds until all contents were known
	RSS      int64   // then, in KiB
	Most     int64   // ever, in KiB
	Routines int
	Files    int
}

// TestStarted is that node.
func TestStarted(t *testing.T) {
	dir := os.Getenv(startEnv)
	if dir == "" {
		t.Skip("it is a part of BenchmarkStart")
	}
	begun := time.Now()
	s, err := store.Open(dir, store.Options{})
	try(t, err)
	gate := httpfallback.NewGate(httpfallback.GateConfig{})
	defer gate.Close()
	n, err := cachenode.New(cachenode.Config{Listen: "127.0.0.1:0", Store: s, Catalogue: none{}, Gate: gate})
	try(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- n.Run(ctx) }()
	name, err := os.ReadFile(filepath.Join(filepath.Dir(dir), "ask"))
	try(t, err)
	resp, err := http.Get("http://" + n.Addr() + "/content/" + string(name))
	try(t, err)
	if b, err := io.ReadAll(resp.Body); err != nil || len(b) != startSize || resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d, %d bytes, %v", resp.StatusCode, len(b), err)
	}
	out := started{Answer: time.Since(begun).Seconds()}
	for n.RoomStatus().Contents == 0 {
		time.Sleep(time.Millisecond)
	}
	out.Known = time.Since(begun).Seconds()
	time.Sleep(time.Second) // for what is shared with devices at the start
	runtime.GC()
	out.RSS, out.Most, out.Routines = memory(t, "VmRSS:"), memory(t, "VmHWM:"), runtime.NumGoroutine()
	files, err := os.ReadDir("/proc/self/fd")
	try(t, err)
	out.Files = len(files)
	try(t, json.NewEncoder(os.Stderr).Encode(out))
	cancel()
	try(t, <-done)
}

// none is a catalogue that knows nothing.
type none struct{}

func (none) Find(piecehash.Root) (*cachenode.Item, error) { return nil, cachenode.ErrUnknown }
func (none) Refresh(context.Context) []piecehash.Root     { return nil }

// memory reads a line of what the kernel says about this process, in KiB.
func memory(t testing.TB, key string) int64 {
	t.Helper()
	f, err := os.Open("/proc/self/status")
	try(t, err)
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 1 && fields[0] == key {
			n, err := strconv.ParseInt(fields[1], 10, 64)
			try(t, err)
			return n
		}
	}
	t.Fatalf("the kernel says no %s", key)
	return 0
}

// BenchmarkStart starts a node, in a process of its own, with a store of many contents. No content is hashed but the one that is
// asked for.
func BenchmarkStart(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "store")
	_, err := store.Open(dir, store.Options{})
	try(b, err)
	for n := range *startContents {
		m := lay(b, dir, n)
		if n == *startContents/2 {
			try(b, os.WriteFile(filepath.Join(filepath.Dir(dir), "ask"), []byte(m.Root().String()), 0o600))
		}
	}
	s, err := store.Open(dir, store.Options{})
	try(b, err)
	b.Run("survey", func(b *testing.B) {
		for b.Loop() {
			if all, err := s.Survey(); err != nil || len(all) != *startContents {
				b.Fatalf("%d contents, %v", len(all), err)
			}
		}
	})
	b.Run("node", func(b *testing.B) {
		var sum started
		for range b.N {
			one := startOnce(b, dir)
			sum.Answer += one.Answer
			sum.Known += one.Known
			sum.RSS, sum.Most, sum.Routines, sum.Files = one.RSS, max(sum.Most, one.Most), one.Routines, one.Files
		}
		b.ReportMetric(sum.Answer/float64(b.N), "s/answer")
		b.ReportMetric(sum.Known/float64(b.N), "s/known")
		b.ReportMetric(float64(sum.RSS)/1024, "MiB/rss")
		b.ReportMetric(float64(sum.Most)/1024, "MiB/most")
		b.ReportMetric(float64(sum.Routines), "goroutines")
		b.ReportMetric(float64(sum.Files), "files")
	})
}

func startOnce(b *testing.B, dir string) (out started) {
	b.Helper()
	if *startCold {
		try(b, os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0))
	}
	cmd := exec.CommandContext(b.Context(), os.Args[0], "-test.run", "^TestStarted$")
	cmd.Env = append(os.Environ(), startEnv+"="+dir)
	var said bytes.Buffer
	cmd.Stderr = &said
	if text, err := cmd.Output(); err != nil {
		b.Fatalf("start: %v\n%s%s", err, text, said.String())
	}
	if err := json.Unmarshal(said.Bytes(), &out); err != nil {
		b.Fatal(fmt.Errorf("%s: %w", said.String(), err))
	}
	return out
}
