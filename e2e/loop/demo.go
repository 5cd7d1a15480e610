package loop

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/e2e/lab"
	"github.com/dunlin-project/dunlin/internal/demo"
)

// Demo is a "dunlin demo --keep --load --json" that runs. Its methods belong to the test's goroutine.
type Demo struct {
	Places []Place // of the devices, in order, and of the node, which is the last

	t         *testing.T
	cmd       *exec.Cmd
	out, said lab.Output
	dir       string
	sizes     map[string]int64 // of all that was published, by root
	ended     bool
}

// Place is where one of its machines shows itself.
type Place struct {
	Name    string // "device-1" and so on, or NodeName
	Page    string // URL, with a slash at the end
	Metrics string // IP:PORT
}

// NodeName is what the demonstration calls its cache node.
const NodeName = "cache node"

// What it prints.
var (
	placeLine = regexp.MustCompile(`(?m)^  (device-\d+|` + NodeName + `) +(http://\S+/)  metrics: http://(\S+)/metrics$`)
	dirLine   = regexp.MustCompile(`(?m)the files are in (\S+)$`)
)

// StartDemo starts a demonstration of three devices and a node in a folder of its own, with another update every so often, and
// returns when it says where everything is. It ends with the test at the latest.
func StartDemo(t *testing.T, program string, every time.Duration) *Demo {
	t.Helper()
	tmp, err := os.MkdirTemp("", "dunlin") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(tmp) })
	d := &Demo{t: t, cmd: exec.Command(program, "demo", "--keep", "--load", "--load-every", every.String(), "--json"), sizes: make(map[string]int64)}
	d.cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	d.cmd.Stdout, d.cmd.Stderr = &d.out, &d.said
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.end)
	d.said.Wait(t, "  "+NodeName+"  ", patience)
	for _, m := range placeLine.FindAllStringSubmatch(d.said.String(), -1) {
		d.Places = append(d.Places, Place{m[1], m[2], m[3]})
	}
	dir := dirLine.FindStringSubmatch(d.said.String())
	if len(d.Places) != 4 || d.Node().Name != NodeName || dir == nil {
		t.Fatalf("it names %+v, and as folder %q; it said:\n%s", d.Places, dir, d.said.String())
	}
	d.dir = dir[1]
	return d
}

// Devices are the places of the devices.
func (d *Demo) Devices() []Place { return d.Places[:len(d.Places)-1] }

// Node is the place of the cache node.
func (d *Demo) Node() Place { return d.Places[len(d.Places)-1] }

// Approved waits until the first n updates under load are approved.
func (d *Demo) Approved(n int) {
	d.t.Helper()
	for i := range n {
		d.said.Wait(d.t, "approved acme/load@1.0."+strconv.Itoa(i+1), patience)
		d.Sizes() // before it is deleted
	}
}

// Sizes are the lengths of everything that it has published so far.
func (d *Demo) Sizes() (sizes []int64) {
	d.t.Helper()
	files, err := filepath.Glob(filepath.Join(d.dir, "publisher", "public", "content", strings.Repeat("?", 64)))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err == nil {
			d.sizes[filepath.Base(f)] = info.Size()
		}
	}
	for _, n := range d.sizes {
		sizes = append(sizes, n)
	}
	return sizes
}

// Logged is what origin and depot sent of content by their access logs, and how much of that in answers that broke off, of which
// the last bytes may not have arrived. An answer is in the log when it has ended.
func (d *Demo) Logged() (sent, broken int64) {
	d.t.Helper()
	for _, log := range []string{"origin.log", "depot.log"} {
		records, err := demo.ReadAccessLog(filepath.Join(d.dir, log))
		if err != nil {
			d.t.Fatal(err)
		}
		for _, r := range records {
			_, root, ok := strings.Cut(r.Path, "/content/")
			if !ok {
				continue
			}
			n := r.Bytes + r.DepotBytes
			if sent += n; n < d.asked(r, root) {
				broken += n
			}
		}
	}
	return sent, broken
}

// asked is how long the answer is that was asked for, as far as that is known.
func (d *Demo) asked(r demo.AccessRecord, root string) int64 {
	first, last, ok := strings.Cut(strings.TrimPrefix(r.Range, "bytes="), "-")
	if !ok {
		return d.sizes[root]
	}
	from, err := strconv.ParseInt(first, 10, 64)
	to, err2 := strconv.ParseInt(last, 10, 64)
	if err != nil || err2 != nil {
		return 0
	}
	return to - from + 1
}

// Interrupt ends it as people do, which it must take well, and returns what it has printed.
func (d *Demo) Interrupt() string {
	d.t.Helper()
	late := time.AfterFunc(patience, func() { _ = d.cmd.Process.Kill() })
	defer late.Stop()
	d.ended = true
	_ = d.cmd.Process.Signal(syscall.SIGINT)
	if err := d.cmd.Wait(); err != nil {
		d.t.Errorf("interrupted, it ends with %v; it said:\n%s", err, d.said.String())
	}
	return d.out.String()
}

// end interrupts it if nobody has: killed, it would leave its processes behind.
func (d *Demo) end() {
	if d.t.Failed() {
		d.t.Logf("the demonstration said:\n%s", d.said.String())
	}
	if !d.ended {
		d.Interrupt()
	}
}
