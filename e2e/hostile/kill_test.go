package hostile

import (
	"archive/tar"
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// origin is a slow web server over the depot's content that notes what is asked for.
type origin struct {
	url string

	mu     sync.Mutex // guards ranges
	ranges []string
}

const (
	originSlice = 32 << 10
	originPause = 8 * time.Millisecond // after each slice of an answer: at most 4 MiB a second
)

func newOrigin(t *testing.T, addr, root string) *origin {
	t.Helper()
	o := &origin{url: "http://" + addr}
	files := http.FileServer(http.Dir(root))
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		o.ranges = append(o.ranges, r.Header.Get("Range"))
		o.mu.Unlock()
		files.ServeHTTP(slow{w}, r)
	})}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return o
}

// asked returns the ranges that were asked for since the last call.
func (o *origin) asked() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	r := o.ranges
	o.ranges = nil
	return r
}

type slow struct{ http.ResponseWriter }

func (s slow) Write(b []byte) (written int, err error) {
	for err == nil && written < len(b) {
		n := 0
		n, err = s.ResponseWriter.Write(b[written:min(len(b), written+originSlice)])
		written += n
		time.Sleep(originPause)
	}
	return written, err
}

// software is an archive with many files and folders, so that installing it takes some time.
func software(t *testing.T, version string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range 300 {
		name := fmt.Sprintf("%s/%d/%s-%d", []string{"bin", "lib", "share"}[i%3], i%20, version, i)
		body := payload(name, 24<<10)
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(body)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestKilledAtAnyMoment: several devices, each killed with SIGKILL again and again on its way from one version to the next,
// while it downloads and while it installs. At every moment the destination is the old version or the new one, whole; what
// has arrived is never asked for again; and the run that is let be completes.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	for chain := range 3 {
		t.Run(fmt.Sprint(chain), func(t *testing.T) {
			t.Parallel()
			k := newKilling(t)
			// In the download, wherever that is by then; then while it is verified and installed.
			for range 4 {
				more := len(right(t, k.partial(), k.packed)) + 1 + rand.N(5)
				k.kill(func(p *process) {
					until(t, "a part has arrived", func() bool { return p.hasEnded() || len(right(t, k.partial(), k.packed)) >= more })
					time.Sleep(rand.N(50 * time.Millisecond))
				})
			}
			// Each later than the one before, the first at once: whoever comes too late for that finds everything installed ever after.
			for i := range time.Duration(4) {
				k.kill(func(p *process) {
					until(t, "all of it has arrived", func() bool { return p.hasEnded() || k.arrived() })
					time.Sleep(rand.N(k.install*i/4 + 1))
				})
			}
			k.finish()
		})
	}
}

// killing is one device on its way from one version to the next.
type killing struct {
	*world
	*device
	t        *testing.T
	origin   *origin
	old, new string        // what lies at the destination before and after
	packed   []byte        // the new version
	root     string        // of its content
	install  time.Duration // that takes so long undisturbed
	kills    int           // that hit a process that ran
	inside   int           // of them, those after all had arrived and before it was installed
}

// newKilling has another device go the way undisturbed, to know how long it takes and where it leads.
func newKilling(t *testing.T) *killing {
	t.Helper()
	w := newPublisher(t)
	addr := loopback() + plainPort
	w.initDepot("--origin", "http://"+addr)
	w.serve()
	k := &killing{world: w, t: t, origin: newOrigin(t, addr, w.public())}
	w.offer("app", "1.0", software(t, "1.0"), "--handler", "tree", "--dest", "/opt/app")
	k.device = w.join()
	k.ends(0)
	k.old = k.installed()
	k.packed = software(t, "2.0")
	k.root = w.offer("app", "2.0", k.packed, "--handler", "tree", "--dest", "/opt/app")
	guide := &killing{world: w, t: t, device: k.clone(), root: k.root}
	p := guide.run()
	until(t, "all of it has arrived", func() bool { return p.hasEnded() || guide.arrived() })
	begin := time.Now()
	if code := p.wait(); code != 0 {
		t.Fatalf("undisturbed it ends with %d: %s", code, p.out)
	}
	k.install = max(time.Since(begin), 10*time.Millisecond)
	k.new = guide.installed()
	if k.new == k.old || strings.Count(k.new, "\n") < 299 {
		t.Fatalf("the new version is\n%s", k.new)
	}
	k.origin.asked()
	return k
}

// run starts one cycle as a process.
func (k *killing) run() *process {
	return start(k.t, k.env, binary, append([]string{"agent", "run", "--once", "--metrics", "off"}, k.flags()...)...)
}

// installed lists what the destination leads to.
func (k *killing) installed() string {
	k.t.Helper()
	to, err := filepath.EvalSymlinks(filepath.Join(k.device.root, "opt", "app"))
	if err != nil {
		k.t.Fatalf("nothing is installed: %v", err)
	}
	return tree(k.t, to)
}

func (k *killing) partial() string { return filepath.Join(k.state, "content", "partial", k.root) }

// arrived reports whether the whole payload is in the store, or was installed already.
func (k *killing) arrived() bool {
	_, err := os.Stat(filepath.Join(k.state, "content", "sealed", k.root))
	return err == nil
}

// kill starts the agent, kills it when the moment has come, and looks at what is left.
func (k *killing) kill(moment func(*process)) {
	k.t.Helper()
	have := right(k.t, k.partial(), k.packed)
	p := k.run()
	moment(p)
	if p.stop(syscall.SIGKILL); !p.cmd.ProcessState.Exited() {
		k.kills++
	}
	for _, r := range k.origin.asked() {
		notAgain(k.t, r, len(k.packed), have)
	}
	now := k.installed()
	if now != k.old && now != k.new {
		k.t.Fatalf("after a kill there is\n%s", now)
	}
	if now == k.old && k.arrived() {
		k.inside++
	}
	k.t.Logf("%d pieces of %d; all there %v, installed %v", len(right(k.t, k.partial(), k.packed)), (len(k.packed)+pieceLength-1)/pieceLength,
		k.arrived(), now == k.new)
}

// finish lets the agent come to its end, and compares the device with one that was never disturbed.
func (k *killing) finish() {
	k.t.Helper()
	have := right(k.t, k.partial(), k.packed)
	k.ends(0)
	for _, r := range k.origin.asked() {
		notAgain(k.t, r, len(k.packed), have)
	}
	if now := k.installed(); now != k.new {
		k.t.Errorf("in the end there is\n%s", now)
	}
	k.ends(0)
	if asked := k.origin.asked(); len(asked) > 0 {
		k.t.Errorf("what is installed is fetched again: %v", asked)
	}
	entries, err := os.ReadDir(filepath.Join(k.device.root, "opt"))
	if err != nil || len(entries) != 2 { // the symlink and the folder of versions
		k.t.Errorf("leftovers: %v, %v", entries, err)
	}
	if k.kills < 5 {
		k.t.Errorf("only %d kills hit a process that ran", k.kills)
	}
	k.t.Logf("%d kills, %d of them between the download's end and the installation's", k.kills, k.inside)
}
