package loop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
)

// binaryEnv names a command that is built already.
const binaryEnv = "DUNLIN_BIN"

// Programs is what the tests of one package run. The zero value, with a Net of its own, is ready; a test package has one, so
// that all its tests can run at once with the same ports.
type Programs struct {
	Net  byte   // the second byte of the addresses, 127.NET.x.y
	Path string // of the command under test; Main sets it

	hosts atomic.Int32
}

// Main builds the command once and runs the tests; it is for TestMain. The result is the exit code.
func (p *Programs) Main(m *testing.M) int {
	if p.Path = os.Getenv(binaryEnv); p.Path != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "dunlin-loop-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	p.Path = filepath.Join(dir, "dunlin")
	cmd := exec.Command("go", "build", "-trimpath", "-o", p.Path, "../../cmd/dunlin")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// Loopback returns an address that nobody else in this package has.
func (p *Programs) Loopback() string {
	n := p.hosts.Add(1)
	return fmt.Sprintf("127.%d.%d.%d", p.Net, n/200, 1+n%200)
}
