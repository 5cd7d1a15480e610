package demo

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/e2e/lab"
)

// result is what dunlin demo --json ends with, as a reader of its documentation would write it down.
type result struct {
	Devices []struct {
		From      struct{ Origin, Cache, Peers int64 }
		Waste     int64
		Seconds   float64
		SHA256    string
		Installed bool
	}
	OriginBytes  int64 `json:"origin_bytes"`
	OriginLogged int64 `json:"origin_logged"`
	ContentBytes int64 `json:"content_bytes"`
	Copies       float64
}

// maxCopies is what three devices may draw from the origin, in copies of the content.
const maxCopies = 1.2

// TestDemo: the default payload, five times, because starts race; and a file of our own on more devices. What the devices
// count is what the origin's log says.
func TestDemo(t *testing.T) {
	lab.Need(t)
	bin := lab.Binary(t)
	for range 5 {
		r := run(t, bin)
		check(t, r, 3)
	}
	name, sum := payload(t)
	r := run(t, bin, "--file", name, "--devices", "5")
	check(t, r, 5)
	for i, d := range r.Devices {
		if d.SHA256 != sum {
			t.Errorf("device %d has %s, want %s", i, d.SHA256, sum)
		}
	}
}

func run(t *testing.T, bin string, args ...string) result {
	t.Helper()
	start := time.Now()
	cmd := exec.Command(bin, append([]string{"demo", "--json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("dunlin demo: %v", err)
	}
	var r result
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("%.3f copies, %v", r.Copies, time.Since(start).Round(time.Millisecond))
	return r
}

func check(t *testing.T, r result, devices int) {
	t.Helper()
	if len(r.Devices) != devices || r.ContentBytes == 0 {
		t.Fatalf("%d devices, %d bytes", len(r.Devices), r.ContentBytes)
	}
	var origin int64
	for i, d := range r.Devices {
		if !d.Installed {
			t.Errorf("device %d has not installed it", i)
		}
		if got := d.From.Origin + d.From.Cache + d.From.Peers - d.Waste; got != r.ContentBytes {
			t.Errorf("device %d: %d useful bytes of %d", i, got, r.ContentBytes)
		}
		origin += d.From.Origin
	}
	if origin != r.OriginBytes || origin != r.OriginLogged {
		t.Errorf("the devices count %d bytes from the origin, the sum says %d, the log %d", origin, r.OriginBytes, r.OriginLogged)
	}
	if r.Copies > maxCopies {
		t.Errorf("%.3f copies, want at most %.1f", r.Copies, maxCopies)
	}
}

// payload is a file that does not compress.
func payload(t *testing.T) (name, sum string) {
	t.Helper()
	b := make([]byte, 24<<20)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b)
	name = filepath.Join(t.TempDir(), "payload.bin")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	h := sha256.Sum256(b)
	return name, hex.EncodeToString(h[:])
}
