package swarm_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/swarm"
)

// The content of BenchmarkPair: large enough that the first round trips do not count.
const (
	benchSize  = 64 << 20
	benchPiece = 1 << 20
)

// seederEnv makes this test binary the seeder of BenchmarkPair.
const seederEnv = "DUNLIN_TEST_SEEDER"

func TestMain(m *testing.M) {
	if os.Getenv(seederEnv) != "" {
		seed()
		return
	}
	os.Exit(m.Run())
}

// seed serves the content of BenchmarkPair until stdin is closed.
func seed() {
	data, m := fetchtest.Content(7, benchSize, benchPiece)
	n, err := swarm.New(swarm.Config{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}})
	if err != nil {
		panic(err)
	}
	if _, err := n.Join(fetchtest.FullPart(m, data)); err != nil {
		panic(err)
	}
	fmt.Println(n.Addrs()[0], cpu().Nanoseconds())
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		bufio.NewReader(os.Stdin).ReadByte()
		cancel()
	}()
	n.Run(ctx)
}

// fileSink checks each piece and writes it to a file.
type fileSink struct {
	m *piecehash.Manifest
	f *os.File
}

func (s *fileSink) Progress(context.Context, int) {}

func (s *fileSink) Piece(i int, b []byte) error {
	if err := s.m.Check(i, b); err != nil {
		return err
	}
	_, err := s.f.WriteAt(b, s.m.Offset(i))
	return err
}

// BenchmarkPair is one seeder and one leecher, each a process: encrypted, hashed, written.
func BenchmarkPair(b *testing.B) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), seederEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	var addr string
	var before time.Duration // what the seeder needed to make the content
	if _, err := fmt.Fscan(out, &addr, &before); err != nil {
		b.Fatal(err)
	}
	rounds := benchLeech(b, addr)
	in.Close()
	cmd.Wait()
	gib := float64(rounds) * benchSize / (1 << 30)
	b.ReportMetric((cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()-before).Seconds()/gib, "seeder-cpu-s/GiB")
}

// cpu is the time that this process has computed.
func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchLeech fetches the content again and again and returns how often.
func benchLeech(b *testing.B, addr string) (rounds int) {
	_, m := fetchtest.Content(7, benchSize, benchPiece)
	_, key, _ := ed25519.GenerateKey(nil)
	n, err := swarm.New(swarm.Config{Key: key, Peers: []string{addr}})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() { n.Run(ctx); close(done) }()
	defer func() { cancel(); <-done }()
	r := join(b, n, fetchtest.NewPart(m))
	src := next[fetch.Joined](b, r.Hear()).Peer
	f, err := os.Create(b.TempDir() + "/out")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	sink := &fileSink{m, f}
	b.SetBytes(benchSize)
	start := cpu()
	for b.Loop() {
		rounds++
		pieces := make(chan int)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for i := range pieces {
					if err := src.Fetch(ctx, i, sink); err != nil {
						b.Error(err)
					}
				}
			})
		}
		for i := range m.Pieces() {
			pieces <- i
		}
		close(pieces)
		wg.Wait()
	}
	b.ReportMetric((cpu()-start).Seconds()/(float64(rounds)*benchSize/(1<<30)), "leecher-cpu-s/GiB")
	return rounds
}
