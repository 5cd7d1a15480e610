package hostile

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/agent"
)

const (
	maxRSS  = 96 << 20 // bytes
	bigSize = 2 << 30  // bytes
	bigStep = 16 << 20 // bytes: in each step one MiB is random, the rest is zero
	bigMiB  = 1 << 20
	// bigPieces is how many pieces of the default length, 1 MiB, that makes.
	bigPieces = bigSize / bigMiB
)

// TestAnAgentStaysSmall: it fetches, checks and installs 2 GiB, hashes each piece once on receipt, and reads the whole once
// before it installs and once to install.
func TestAnAgentStaysSmall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file := w.path("big")
	big(t, file)
	out := w.must("publish", "add", w.path(publisherName), file, "--id", "big", "--version", "1", "--dest", "/opt/big", "--release", "--json")
	root := added(t, out)
	// The depot takes what is there and right; that saves the test a copy of 2 GiB.
	if err := os.Link(w.path(publisherName, "public", "content", root), w.public("content", root)); err != nil {
		t.Fatal(err)
	}
	w.approve("big", "1")
	d := w.join()
	host := loopback()
	metrics := host + ":9680"
	p := start(t, w.env, binary, append(append([]string{"agent", "run"}, d.flags()...),
		"--metrics", metrics, "--interval", "1h", "--sharing", "lan", "--discovery", "off", "--listen", host+":7680")...)
	until(t, "it is installed", func() bool {
		if p.hasEnded() {
			t.Fatalf("the agent ended: %s", p.out)
		}
		time.Sleep(200 * time.Millisecond) // each question costs the agent memory, too
		return scrape(metrics)[`dunlin_jobs_total{action="install",outcome="ok"}`] == 1
	})
	m, rss, bytesRead := scrape(metrics), procFigure(t, p, "status", "VmHWM:")<<10, procFigure(t, p, "io", "rchar:")
	if code := p.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("after SIGTERM it ended with code %d", code)
	}
	t.Logf("peak RSS %d MiB; %.2f times the payload was read, from the network and from the disk", rss>>20, float64(bytesRead)/bigSize)
	if rss >= maxRSS {
		t.Errorf("peak RSS %d MiB, the bound is %d", rss>>20, maxRSS>>20)
	}
	for name, want := range map[string]float64{
		`dunlin_piece_checks_total{result="good"}`:                     bigPieces,
		`dunlin_piece_checks_total{result="duplicate"}`:                0,
		`dunlin_piece_checks_total{result="corrupt"}`:                  0,
		`dunlin_received_bytes_total{source="origin",use="useful"}`:    bigSize,
		`dunlin_received_bytes_total{source="origin",use="duplicate"}`: 0,
		`dunlin_received_bytes_total{source="origin",use="corrupt"}`:   0,
		`dunlin_received_bytes_total{source="origin",use="cut"}`:       0,
	} {
		if got, ok := m[name]; got != want || !ok {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	// From the network, to be verified, to be copied to its place: more than three times would be another pass.
	if bytesRead < 3*bigSize || bytesRead > 3*bigSize+bigSize/4 {
		t.Errorf("%d bytes were read, want 3 times %d", bytesRead, int64(bigSize))
	}
	if u := d.update("big", "1"); u.State != agent.StateInstalled || u.Transfer.From.Origin != bigSize {
		t.Errorf("the status says %+v", u)
	}
	if a, b := sum(t, file), sum(t, filepath.Join(d.root, "opt", "big")); a != b {
		t.Error("other bytes were installed")
	}
}

// big writes a file that is mostly zeros, but none of it is the same everywhere.
func big(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, random := make([]byte, bigMiB), rand.NewChaCha8(sha256.Sum256([]byte(path)))
	for off := int64(0); off < bigSize; off += bigStep {
		_, _ = random.Read(b)
		if _, err := f.WriteAt(b, off); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(bigSize); err != nil {
		t.Fatal(err)
	}
}

func sum(t *testing.T, path string) (out [32]byte) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return [32]byte(h.Sum(nil))
}

// scrape reads the metrics of an agent; none while it does not answer.
func scrape(addr string) map[string]float64 {
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	out := map[string]float64{}
	for s := bufio.NewScanner(resp.Body); s.Scan(); {
		name, value, _ := strings.Cut(s.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			out[name] = v
		}
	}
	return out
}

// procFigure reads a number that the kernel keeps of a process.
func procFigure(t *testing.T, p *process, file, key string) int64 {
	t.Helper()
	for line := range strings.Lines(string(read(t, fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, file)))) {
		if words := strings.Fields(line); words[0] == key {
			n, err := strconv.ParseInt(words[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no %s", key)
	return 0
}
