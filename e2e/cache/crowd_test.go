package cache_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/e2e/lab"
	"github.com/dunlin-project/dunlin/e2e/loop"
	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store"
	"github.com/dunlin-project/dunlin/swarm"
)

const (
	// crowdEnv makes this test binary a crowd of devices that all have one address: the multiaddr of the node.
	crowdEnv = "DUNLIN_TEST_CROWD"

	crowdSize     = 100
	crowdPatience = 60 * time.Second // for the last of them
	crowdMemory   = 200 << 20        // bytes, of the node at its largest
)

// crowdContent is what the crowd wants: 2 MiB in 8 pieces.
func crowdContent() ([]byte, *piecehash.Manifest) { return fetchtest.Content(77, 2<<20, 256<<10) }

// crowdReport is what a crowd says about itself.
type crowdReport struct {
	Whole   int      `json:"whole"`   // devices that have all of it from the node
	Refused int64    `json:"refused"` // connections that did not become links
	Left    int64    `json:"left"`    // links that ended
	Errors  []string `json:"errors"`  // the first of them
	Slowest float64  `json:"slowest"` // seconds until the last device had all
}

// crowd runs the devices, each with a key and a port of its own, and prints a report.
func crowd(node string) error {
	data, m := crowdContent()
	var r crowdReport
	var whole, refused, left atomic.Int64
	log := slog.New(refusals{slog.DiscardHandler, &refused})
	ctx, cancel := context.WithTimeout(context.Background(), crowdPatience)
	defer cancel()
	var wg, running sync.WaitGroup
	errs := make(chan error, 2*crowdSize)
	began := time.Now()
	for range crowdSize {
		n, err := swarm.New(swarm.Config{
			Listen: []netip.AddrPort{netip.AddrPortFrom(netip.IPv4Unspecified(), 0)}, Peers: []string{node}, Log: log,
		})
		if err != nil {
			return err
		}
		room, err := n.Join(fetchtest.NewPart(m))
		if err != nil {
			return err
		}
		running.Go(func() { _ = n.Run(ctx) })
		wg.Go(func() {
			if err := draw(ctx, room, m, data, &left); err != nil {
				errs <- err
				return
			}
			whole.Add(1)
		})
	}
	wg.Wait()
	r.Slowest = time.Since(began).Seconds()
	cancel()
	running.Wait()
	close(errs)
	for err := range errs {
		if len(r.Errors) < 5 {
			r.Errors = append(r.Errors, err.Error())
		}
	}
	r.Whole, r.Refused, r.Left = int(whole.Load()), refused.Load(), left.Load()
	return json.NewEncoder(os.Stdout).Encode(r)
}

// draw gets every piece from the node.
func draw(ctx context.Context, room *swarm.Room, m *piecehash.Manifest, data []byte, left *atomic.Int64) error {
	heard := room.Hear()
	var node fetch.Peer
	for node == nil {
		select {
		case h := <-heard:
			if j, ok := h.(fetch.Joined); ok && j.Role == fetch.Cache {
				node = j.Peer
			}
		case <-ctx.Done():
			return errors.New("no link with the node")
		}
	}
	go func() {
		for h := range heard {
			if _, ok := h.(fetch.Left); ok && ctx.Err() == nil {
				left.Add(1)
			}
		}
	}()
	got := fetchtest.NewPart(m)
	for i := 0; i < m.Pieces(); {
		err := node.Fetch(ctx, i, into{got})
		var busy *fetch.BusyError
		switch {
		case err == nil:
			i++
		case errors.As(err, &busy): // it says when it will have time
			select {
			case <-time.After(max(busy.RetryAfter, time.Millisecond)):
			case <-ctx.Done():
				return ctx.Err()
			}
		default:
			return fmt.Errorf("piece %d: %w", i, err)
		}
	}
	return nil
}

// into puts what comes into a part, which checks it.
type into struct{ *fetchtest.Part }

// Progress implements fetch.Sink.
func (into) Progress(context.Context, int) {}

// Piece implements fetch.Sink.
func (p into) Piece(i int, b []byte) error {
	_, err := p.Put(i, b)
	return err
}

// refusals is a log that counts the dials that fail.
type refusals struct {
	slog.Handler
	n *atomic.Int64
}

// Enabled implements slog.Handler.
func (refusals) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (r refusals) Handle(ctx context.Context, rec slog.Record) error {
	if rec.Message == "dial failed" && ctx.Err() == nil {
		r.n.Add(1)
	}
	return nil
}

// TestCrowdBehindOneAddress: a hundred devices that start together behind one router all get a link with the node and all they
// want of it, none is refused or loses its link, and the node stays small. With the default limits of the peer-to-peer library
// most never get a link: it takes eight connections from one address.
func TestCrowdBehindOneAddress(t *testing.T) {
	need(t)
	if testing.Short() {
		t.Skip("a hundred handshakes")
	}
	data, m := crowdContent()
	dir, folder := nodeDir(t), t.TempDir()
	stock(t, filepath.Join(dir, "content"), data, m)
	var maker lab.Maker
	l := maker.New(t)
	node, devices := l.Host(lab.Options{}), l.Host(lab.Options{})
	out := node.Start(t, nil, programs.Path, "cache", "run", "--json", "--dir", dir, "--content", folder, "--reserve", "1M",
		"--listen", node.Addr+":7680", "--http", node.Addr+":7681")
	var e loop.Event
	if err := json.Unmarshal([]byte(out.Wait(t, `"listening"`, crowdPatience)), &e); err != nil {
		t.Fatal(err)
	}
	var r crowdReport
	said, err := devices.Run(t.Context(), []string{crowdEnv + "=" + e.Addrs[0]}, os.Args[0])
	if err == nil {
		err = json.Unmarshal([]byte(said), &r)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	t.Logf("%+v", r)
	if r.Whole != crowdSize || r.Refused != 0 || r.Left != 0 {
		t.Errorf("%d of %d devices got all, %d connections were refused, %d links ended: %v", r.Whole, crowdSize, r.Refused, r.Left, r.Errors)
	}
	if peak := peakOf(t, dir); peak > crowdMemory {
		t.Errorf("the node took %d MiB, at most %d are allowed", peak>>20, crowdMemory>>20)
	}
}

// stock makes a store with the content.
func stock(t *testing.T, dir string, data []byte, m *piecehash.Manifest) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Begin(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	for i := range m.Pieces() {
		if _, err := p.Put(i, data[m.Offset(i):][:m.PieceSize(i)]); err != nil {
			t.Fatal(err)
		}
	}
	f, err := p.Seal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), p.Close()); err != nil {
		t.Fatal(err)
	}
}

// peakOf returns the most memory that the process ever had which runs on a folder, in bytes.
func peakOf(t *testing.T, dir string) int64 {
	t.Helper()
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, cmdline := range all {
		b, err := os.ReadFile(cmdline)
		if err != nil || !strings.Contains(string(b), "\x00--dir\x00"+dir+"\x00") {
			continue
		}
		status, err := os.ReadFile(filepath.Join(filepath.Dir(cmdline), "status"))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(status), "VmHWM:")
		kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("the node took %d MiB", kib>>10)
		return kib << 10
	}
	t.Fatal("the node does not run")
	return 0
}
