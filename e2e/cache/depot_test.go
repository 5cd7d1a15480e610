package cache_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/agent"
	"github.com/dunlin-project/dunlin/e2e/lab"
	"github.com/dunlin-project/dunlin/e2e/loop"
	"github.com/dunlin-project/dunlin/piecehash"
)

// organisation is a publisher and a depot, in folders, and an nginx that has the publisher's content.
type organisation struct {
	t     *testing.T
	dir   string
	host  string // of the depot
	nginx *loop.Nginx
	token string
	serve *exec.Cmd // depot serve; nil: it does not run
}

func newOrganisation(t *testing.T) *organisation {
	t.Helper()
	lab.Need(t, "curl")
	o := &organisation{t: t, dir: t.TempDir(), host: programs.Loopback()}
	o.write("passphrase", []byte("correct horse battery"))
	o.run("publish", "init", o.at("acme"), "--name", "acme", "--work-factor", "10")
	o.nginx = programs.StartNginx(t, o.at("acme", "public"), "0")
	o.run("depot", "init", "--dir", o.at("depot"), "--host", o.host, "--listen", o.host+":8443", "--content-listen", o.host+":8080",
		"--origin", strings.TrimSuffix(o.nginx.URL(""), "/"), "--trust", o.at("acme", "publisher.trust"), "--ring", "pilot", "--work-factor", "10")
	o.serving()
	o.token = o.at("token")
	o.run("depot", "token", "create", "--dir", o.at("depot"), "--ring", "pilot", "--file", o.token)
	return o
}

func (o *organisation) at(elem ...string) string {
	return filepath.Join(append([]string{o.dir}, elem...)...)
}

func (o *organisation) write(name string, b []byte) string {
	o.t.Helper()
	if err := os.WriteFile(o.at(name), b, 0o600); err != nil {
		o.t.Fatal(err)
	}
	return o.at(name)
}

func (o *organisation) command(args ...string) *exec.Cmd {
	cmd := exec.Command(programs.Path, args...)
	cmd.Env = append(os.Environ(), "DUNLIN_PASSPHRASE_FILE="+o.at("passphrase"))
	return cmd
}

// run runs a command of the binary to its end and returns what it printed.
func (o *organisation) run(args ...string) []byte {
	o.t.Helper()
	cmd := o.command(args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		o.t.Fatalf("dunlin %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return out
}

// serving starts the depot and waits for its socket.
func (o *organisation) serving() {
	o.t.Helper()
	o.serve = o.command("depot", "serve", "--dir", o.at("depot"))
	if err := o.serve.Start(); err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(o.away)
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(o.at("depot", "admin.sock")); err == nil {
			return
		}
	}
	o.t.Fatal("the depot does not start")
}

// away ends the depot.
func (o *organisation) away() {
	if o.serve != nil {
		_ = o.serve.Process.Signal(syscall.SIGTERM)
		_ = o.serve.Wait()
		o.serve = nil
	}
}

// release publishes n random bytes as an update, and returns them with their root.
func (o *organisation) release(id string, n int) (data []byte, root piecehash.Root) {
	o.t.Helper()
	data = make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), id[0]}).Read(data)
	file := o.write(id+".bin", data)
	o.run("publish", "add", o.at("acme"), file, "--id", id, "--version", "1.0", "--dest", "/opt/"+id, "--release")
	m, _, err := piecehash.Sum(o.t.Context(), bytes.NewReader(data), 0)
	if err != nil {
		o.t.Fatal(err)
	}
	return data, m.Root()
}

func (o *organisation) approve(id string, more ...string) {
	o.t.Helper()
	o.run(append([]string{"depot", "approve", "--dir", o.at("depot"), "--ring", "pilot", "acme/" + id + "@1.0"}, more...)...)
}

// joined is a cache node of the organisation.
type joined struct {
	*loop.Process
	http string // where content is
	addr string
}

func (o *organisation) node(dir string, args ...string) joined {
	o.t.Helper()
	host := programs.Loopback()
	p := programs.Start(o.t, append([]string{
		"cache", "run", "--json", "--dir", dir, "--reserve", "1M", "--listen", host + ":7680", "--http", host + ":7681",
		"--metrics", "off", "--interval", "1s",
	}, args...)...)
	e := p.AwaitEvent("listening")
	return joined{p, "http://" + e.HTTP + "/content/", e.Addrs[0]}
}

// awaitStored waits until content is stored.
func (n joined) awaitStored(root piecehash.Root) loop.Event {
	return n.Await("stored "+root.String(), func(e loop.Event) bool { return e.Event == "stored" && e.Root == root })
}

// get asks by curl, and returns the status and the body.
func (o *organisation) get(url string) (status string, body []byte) {
	o.t.Helper()
	out := filepath.Join(o.t.TempDir(), "out")
	code, err := exec.Command("curl", "-sS", "-o", out, "-w", "%{http_code}", "--max-time", "60", url).Output()
	if err != nil {
		o.t.Fatalf("curl %s: %v", url, err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		o.t.Fatal(err)
	}
	return string(code), b
}

// awaitStatus asks until the status is the wanted one.
func (o *organisation) awaitStatus(url, want string) {
	o.t.Helper()
	got := ""
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if got, _ = o.get(url); got == want {
			return
		}
	}
	o.t.Fatalf("%s: %s, want %s", url, got, want)
}

// install has an agent go through one cycle beside a node, and returns what became of an update.
func (o *organisation) install(id, peer string) (u agent.Update, file string) {
	o.t.Helper()
	state, root := o.at("device-"+id), o.at("root-"+id)
	if err := os.Mkdir(root, 0o700); err != nil {
		o.t.Fatal(err)
	}
	config := o.at(id + ".yaml")
	o.run("join", o.token, "--config", config, "--state-dir", state)
	out := o.run("agent", "run", "--once", "--json", "--config", config, "--root", root, "--listen", programs.Loopback()+":7680",
		"--peer", peer, "--control", "off", "--metrics", "off")
	var s agent.Status
	if err := json.Unmarshal(out, &s); err != nil {
		o.t.Fatal(err)
	}
	for _, u = range s.Updates {
		if u.ID == id {
			break
		}
	}
	return u, filepath.Join(root, "opt", id)
}

// TestApproveAndPrefetch is the life of an update beside a cache node: approved, fetched ahead once, given to clients and devices,
// withdrawn, and refused from then on, whatever becomes of depot and node. What may not be exchanged never leaves it.
func TestApproveAndPrefetch(t *testing.T) {
	t.Parallel()
	o := newOrganisation(t)
	data, root := o.release("app", 12<<20)
	hidden, secret := o.release("secret", 3<<20)
	dir := nodeDir(t)
	o.run("cache", "join", o.token, "--dir", dir)
	node := o.node(dir)
	if status, _ := o.get(node.http + root.String()); status != "404" {
		t.Errorf("before it is approved: %s", status)
	}
	o.approve("secret", "--no-peering")
	o.approve("app")
	stored := node.awaitStored(root)
	if !stored.Ahead || stored.From.Origin != int64(len(data)) {
		t.Errorf("stored ahead: %+v", stored)
	}
	if status, got := o.get(node.http + root.String()); status != "200" || !bytes.Equal(got, data) {
		t.Errorf("%s with %d bytes", status, len(got))
	}
	if status, body := o.get(node.http + secret.String()); status != "403" || !strings.Contains(string(body), "may not be given away") {
		t.Errorf("what may not be exchanged: %s %s", status, body)
	}
	u, file := o.install("app", node.addr)
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the device has %d bytes installed (%v): %+v", len(got), err, u)
	}
	if u.Transfer == nil || u.Transfer.From.Cache != int64(len(data)) {
		t.Errorf("the device took it elsewhere: %+v", u.Transfer)
	}
	o.run("depot", "unapprove", "--dir", o.at("depot"), "acme/app@1.0")
	o.awaitStatus(node.http+root.String(), "403")
	o.away()
	node.Kill()
	node = o.node(dir)
	o.awaitStatus(node.http+root.String(), "403")
	o.awaitStatus(node.http+secret.String(), "403")
	node.Stop()
	if total, lines := o.nginx.Log("content/" + root.String()); total != int64(len(data)) || !loop.Whole(lines) {
		t.Errorf("the origin gave %d bytes of %d", total, len(data))
	}
	if total, _ := o.nginx.Log("content/" + secret.String()); total != int64(len(hidden)) {
		t.Errorf("the origin gave %d bytes of what the device alone may fetch, which has %d", total, len(hidden))
	}
}

// TestKilledWhilePrefetching: kill -9 in the middle loses little; the next run goes on without the depot, and whoever asks is
// held back no longer.
func TestKilledWhilePrefetching(t *testing.T) {
	t.Parallel()
	o := newOrganisation(t)
	data, root := o.release("app", 40<<20)
	dir := nodeDir(t)
	o.run("cache", "join", o.token, "--dir", dir)
	o.approve("app")
	node := o.node(dir, "--prefetch-rate", "5M")
	node.Await("half", func(e loop.Event) bool { return e.Event == "progress" && e.Have > 20<<20 && e.Ahead })
	node.Kill()
	o.away()
	again := o.node(dir, "--prefetch-rate", "1M")
	began := time.Now()
	if status, got := o.get(again.http + root.String()); status != "200" || !bytes.Equal(got, data) {
		t.Errorf("%s with %d bytes", status, len(got))
	}
	stored := again.awaitStored(root)
	t.Logf("kept %d of %d bytes, the rest in %v", stored.Resumed, len(data), time.Since(began))
	if stored.Resumed == 0 || stored.Resumed+stored.From.Origin != int64(len(data)) || stored.Ahead {
		t.Errorf("%+v", stored)
	}
	again.Stop()
}

// TestWarmUpdate brings an update into the store by its name, in a window that is closed, and says what it cannot.
func TestWarmUpdate(t *testing.T) {
	t.Parallel()
	o := newOrganisation(t)
	data, root := o.release("app", 5<<20)
	dir := nodeDir(t)
	o.run("cache", "join", o.token, "--dir", dir)
	warm := func(name string) (loop.Event, int) {
		p := programs.Start(t, "cache", "warm", "--json", "--listen", programs.Loopback()+":7680", "--dir", dir, "--reserve", "1M", name)
		code := p.End()
		return p.Last(), code
	}
	if _, code := warm("acme/app"); code != 3 {
		t.Errorf("not approved: exit code %d", code)
	}
	o.approve("app")
	now := time.Now()
	closed := fmt.Sprintf("%s-%s", now.Add(2*time.Hour).Format("15:04"), now.Add(3*time.Hour).Format("15:04"))
	node := o.node(dir, "--prefetch-window", closed)
	if last, code := warm("acme/app/1.0"); code != 0 || last.Event != "warm" || last.Root != root {
		t.Fatalf("exit code %d, %+v", code, last)
	}
	if status, got := o.get(node.http + root.String()); status != "200" || !bytes.Equal(got, data) {
		t.Errorf("%s with %d bytes", status, len(got))
	}
	node.Stop()
	if total, _ := o.nginx.Log("content/" + root.String()); total != int64(len(data)) {
		t.Errorf("the origin gave %d bytes of %d", total, len(data))
	}
}
