package hostile

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/agent"
)

// The names in every world.
const (
	publisherName = "acme"
	ring          = "pilot"
	passphrase    = "correct horse battery staple"
	tlsPort       = ":8443"
	plainPort     = ":8080"
)

// world is a publisher, an organisation's depot that runs as a process, and devices that have joined it.
type world struct {
	t       *testing.T
	dir     string
	host    string   // address of the depot
	env     []string // of every command
	serving *process // the depot; nil while it is stopped
	devices int
}

// newWorld makes a publisher with an empty catalogue, a depot that trusts it, and starts the depot.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := newPublisher(t)
	w.initDepot()
	w.serve()
	return w
}

// newPublisher makes a publisher and no depot yet. flags are those of publish init.
func newPublisher(t *testing.T, flags ...string) *world {
	t.Helper()
	need(t)
	w := &world{t: t, dir: t.TempDir(), host: loopback()}
	w.env = []string{"DUNLIN_PASSPHRASE_FILE=" + w.path("passphrase")}
	write(t, w.path("passphrase"), []byte(passphrase))
	w.must(append([]string{"publish", "init", w.path(publisherName), "--work-factor", "10"}, flags...)...)
	return w
}

func (w *world) initDepot(flags ...string) {
	w.t.Helper()
	w.must(append([]string{
		"depot", "init", "--dir", w.path("depot"), "--host", w.host, "--listen", w.host + tlsPort, "--content-listen", w.host + plainPort,
		"--trust", w.path(publisherName, "publisher.trust"), "--work-factor", "10",
	}, flags...)...)
}

func (w *world) path(elem ...string) string {
	return filepath.Join(append([]string{w.dir}, elem...)...)
}

// public names a file that the depot serves.
func (w *world) public(elem ...string) string {
	return w.path(append([]string{"depot", "public"}, elem...)...)
}

// dunlin runs a command to its end.
func (w *world) dunlin(args ...string) result {
	w.t.Helper()
	return dunlin(w.t, w.env, args...)
}

// must runs a command that has to succeed, and returns its standard output.
func (w *world) must(args ...string) string {
	w.t.Helper()
	r := w.dunlin(args...)
	if r.code != 0 {
		w.t.Fatal(r)
	}
	return r.out
}

// depot runs a command of the depot.
func (w *world) depot(args ...string) result {
	w.t.Helper()
	return w.dunlin(append(append([]string{"depot"}, args...), "--dir", w.path("depot"))...)
}

// serve starts the depot. It syncs only when it is told to. A process that another test is just starting may hold a port
// for a moment that was given back here; then it is tried again.
func (w *world) serve() {
	w.t.Helper()
	until(w.t, "the depot serves", func() bool {
		w.serving = start(w.t, w.env, binary, "depot", "serve", "--dir", w.path("depot"), "--sync-every", "-1s", "--access-log", w.path("access.log"))
		until(w.t, "the depot says something", func() bool {
			return w.serving.hasEnded() || strings.Contains(w.serving.out.String(), "dunlin join dunlin1.")
		})
		if w.serving.hasEnded() && !strings.Contains(w.serving.out.String(), "address already in use") {
			w.t.Fatalf("the depot does not serve: %s", w.serving.out)
		}
		return !w.serving.hasEnded()
	})
}

func (w *world) stopServing() {
	w.t.Helper()
	if code := w.serving.stop(syscall.SIGTERM); code != 0 {
		w.t.Errorf("depot serve ended with code %d:\n%s", code, w.serving.out)
	}
	w.serving = nil
}

// release publishes a payload as an update and returns the root of its content. Without other flags it is the file
// /opt/ID.
func (w *world) release(id, version string, payload []byte, flags ...string) (root string) {
	w.t.Helper()
	name := w.path(id + "-" + version)
	write(w.t, name, payload)
	if len(flags) == 0 {
		flags = []string{"--dest", "/opt/" + id}
	}
	out := w.must(append([]string{
		"publish", "add", w.path(publisherName), name, "--id", id, "--version", version, "--release", "--json",
	}, flags...)...)
	return added(w.t, out)
}

func added(t *testing.T, out string) (root string) {
	t.Helper()
	var a struct {
		Root string `json:"root"`
	}
	if err := json.Unmarshal([]byte(out), &a); err != nil || a.Root == "" {
		t.Fatalf("publish add printed %s: %v", out, err)
	}
	return a.Root
}

// offer is release and approve in one.
func (w *world) offer(id, version string, payload []byte, flags ...string) (root string) {
	w.t.Helper()
	root = w.release(id, version, payload, flags...)
	w.approve(id, version)
	return root
}

func name(id, version string) string { return publisherName + "/" + id + "@" + version }

func (w *world) approve(id, version string) {
	w.t.Helper()
	w.depot("approve", name(id, version), "--ring", ring).check(w.t, 0)
}

func (w *world) unapprove(id, version string) {
	w.t.Helper()
	w.depot("unapprove", name(id, version)).check(w.t, 0)
}

// device is one that has joined. Each call of once is a process of its own that ends.
type device struct {
	w                   *world
	config, state, root string
}

// join makes a device of the world.
func (w *world) join() *device {
	w.t.Helper()
	w.depot("token", "create", "--ring", ring, "--file", w.path("token")).check(w.t, 0)
	d := w.newDevice()
	w.must("join", w.path("token"), "--config", d.config, "--state-dir", d.state)
	return d
}

// newDevice is a place for a device that has not joined.
func (w *world) newDevice() *device {
	w.t.Helper()
	w.devices++
	dir := w.path(fmt.Sprintf("device-%d", w.devices))
	d := &device{w, filepath.Join(dir, "agent.yaml"), filepath.Join(dir, "state"), filepath.Join(dir, "root")}
	if err := os.MkdirAll(d.root, 0o755); err != nil {
		w.t.Fatal(err)
	}
	return d
}

// clone is another device in the same state.
func (d *device) clone() *device {
	d.w.t.Helper()
	c := d.w.newDevice()
	copyTree(d.w.t, filepath.Dir(d.config), filepath.Dir(c.config))
	return c
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", from+"/.", to).CombinedOutput(); err != nil {
		t.Fatalf("copy %s: %v\n%s", from, err, out)
	}
}

// flags are those of every agent on the device. It exchanges nothing with others: what is bad must not be healed here.
func (d *device) flags() []string {
	return []string{"--config", d.config, "--state-dir", d.state, "--root", d.root, "--sharing", "off", "--control", "off"}
}

// once runs one cycle.
func (d *device) once(flags ...string) result {
	d.w.t.Helper()
	return d.w.dunlin(append(append([]string{"agent", "run", "--once", "--metrics", "off"}, d.flags()...), flags...)...)
}

// ends runs one cycle that has to end with the code, saying all the words.
func (d *device) ends(code int, says ...string) {
	d.w.t.Helper()
	d.once().check(d.w.t, code, says...)
}

// has checks what is installed at /opt/ID; nil is nothing.
func (d *device) has(id string, want []byte) {
	d.w.t.Helper()
	got, err := os.ReadFile(filepath.Join(d.root, "opt", id))
	switch {
	case want == nil && errors.Is(err, fs.ErrNotExist):
	case want == nil:
		d.w.t.Fatalf("%s is installed, or something is (%v)", id, err)
	case err != nil:
		d.w.t.Fatalf("%s is not installed: %v", id, err)
	case !bytes.Equal(got, want):
		d.w.t.Fatalf("%s is installed with other bytes: %d of them, want %d", id, len(got), len(want))
	}
}

// status is what "dunlin status --json" says.
func (d *device) status() agent.Status {
	d.w.t.Helper()
	out := d.w.must("status", "--json", "--config", d.config, "--state-dir", d.state)
	var s agent.Status
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		d.w.t.Fatalf("status printed %s: %v", out, err)
	}
	return s
}

// update returns what the status says of one.
func (d *device) update(id, version string) agent.Update {
	d.w.t.Helper()
	s := d.status()
	for _, u := range s.Updates {
		if u.ID == id && u.Version == version {
			return u
		}
	}
	d.w.t.Fatalf("the status does not know %s %s: %+v", id, version, s)
	return agent.Update{}
}

// payload returns n bytes that do not repeat and differ by seed.
func payload(seed string, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(seed))).Read(b)
	return b
}

// write replaces a file as a whole.
func write(t *testing.T, path string, b []byte) {
	t.Helper()
	temp := path + ".new"
	if err := os.WriteFile(temp, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(temp, modeOf(path)); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temp, path); err != nil {
		t.Fatal(err)
	}
}

// modeOf keeps the mode of a file that is there.
func modeOf(path string) fs.FileMode {
	if info, err := os.Stat(path); err == nil {
		return info.Mode().Perm()
	}
	return 0o600
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// flip flips the lowest bit of one byte of a file, and returns how to have it as it was.
func flip(t *testing.T, path string, at int) (mend func()) {
	t.Helper()
	good := read(t, path)
	bad := bytes.Clone(good)
	bad[at] ^= 1
	write(t, path, bad)
	return func() {
		t.Helper()
		write(t, path, good)
	}
}

// hide takes a file away, and returns how to put it back.
func hide(t *testing.T, path string) (mend func()) {
	t.Helper()
	rename := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	rename(path, path+".hidden")
	return func() {
		t.Helper()
		rename(path+".hidden", path)
	}
}

// tree lists everything below a folder but folders: its path, type, mode, and content or where it leads to.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		what := ""
		switch {
		case info.Mode().IsRegular():
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what = fmt.Sprintf("%x", sha256.Sum256(b))
		case info.Mode()&fs.ModeSymlink != 0:
			if what, err = os.Readlink(path); err != nil {
				return err
			}
		}
		lines = append(lines, fmt.Sprintf("%s %v %s", strings.TrimPrefix(path, dir), info.Mode(), what))
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// until waits until ok.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
