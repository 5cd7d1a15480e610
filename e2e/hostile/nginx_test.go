package hostile

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const nginxPath = "/usr/sbin/nginx"

const nginxConf = `
daemon off;
master_process off;
pid %[1]s/pid;
error_log %[1]s/error.log;
events { worker_connections 256; }
http {
  log_format json escape=json '{"status":$status,"bytes":$body_bytes_sent,"path":"$uri","range":"$http_range","tls":"$ssl_protocol"}';
  access_log %[1]s/access.log json;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
  keepalive_requests 100000;
  server {
    listen %[2]s ssl;
    ssl_protocols TLSv1.3;
    ssl_certificate %[3]s;
    ssl_certificate_key %[4]s;
    root %[5]s;
    limit_rate %[6]s;
  }
}
`

// nginx is the publisher's web server.
type nginx struct {
	t    *testing.T
	dir  string // of its own files
	addr string
	root string
	p    *process
}

// web makes a publisher whose catalogue an nginx serves by TLS, with the certificate that "publish cert" issues, and a depot
// that knows it by that address. Neither the depot nor nginx runs yet.
func web(t *testing.T) (*world, *nginx) {
	t.Helper()
	need(t, nginxPath)
	host := loopback()
	n := &nginx{t: t, dir: t.TempDir(), addr: host + tlsPort}
	w := newPublisher(t, "--url", "https://"+n.addr)
	n.root = w.path(publisherName, "public")
	w.must("publish", "cert", w.path(publisherName), host)
	w.initDepot()
	return w, n
}

// certOf is what "publish cert" has written: its path without the ending.
func (w *world) certOf(host string) string { return w.path(publisherName, "tls", host) }

// start runs nginx with a certificate; rate bounds each answer in nginx's words, "0" does not.
func (n *nginx) start(cert, rate string) {
	n.t.Helper()
	conf := filepath.Join(n.dir, "conf")
	write(n.t, conf, fmt.Appendf(nil, nginxConf, n.dir, n.addr, cert+".crt", cert+".key", n.root, rate))
	n.p = start(n.t, nil, nginxPath, "-p", n.dir, "-c", conf)
	until(n.t, "nginx answers", func() bool {
		if n.p.hasEnded() {
			n.t.Fatalf("nginx ended: %s", n.p.out)
		}
		c, err := net.Dial("tcp", n.addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (n *nginx) host() string { return strings.TrimSuffix(n.addr, tlsPort) }

func (n *nginx) stop() { n.p.stop(syscall.SIGQUIT) }

// access is a line of the log.
type access struct {
	Status     int
	Bytes      int64
	Path       string
	Range, TLS string
}

func (n *nginx) log() (out []access) {
	n.t.Helper()
	f, err := os.Open(filepath.Join(n.dir, "access.log"))
	if err != nil {
		n.t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var a access
		if err := json.Unmarshal(s.Bytes(), &a); err != nil {
			n.t.Fatalf("%s: %v", s.Text(), err)
		}
		out = append(out, a)
	}
	return out
}

// mirror is what the depot serves of the publisher's catalogue.
func (w *world) mirror() string { return tree(w.t, w.public("v1", "catalogue")) }

// mirrored checks that the depot serves what the publisher's web server does, byte for byte.
func (w *world) mirrored() {
	w.t.Helper()
	for _, line := range strings.Split(w.mirror(), "\n") {
		path := strings.Fields(line)[0]
		upstream := w.path(publisherName, "public", strings.TrimPrefix(path, "/"+publisherName))
		if a, b := read(w.t, w.public("v1", "catalogue", path)), read(w.t, upstream); string(a) != string(b) {
			w.t.Errorf("%s is not what is upstream", path)
		}
	}
	timestamp := filepath.Join("metadata", "timestamp.json")
	if string(read(w.t, w.public("v1", "catalogue", publisherName, timestamp))) != string(read(w.t, w.path(publisherName, "public", timestamp))) {
		w.t.Error("the mirror is not up to date")
	}
}

// TestAWebServerGoesBad: nginx serves a publisher's catalogue by TLS 1.3. Whatever happens to it, what the depot serves is
// the last good catalogue, byte for byte, and the next good sync succeeds without help.
func TestAWebServerGoesBad(t *testing.T) {
	t.Parallel()
	w, n := web(t)
	first, second := payload("first", 700_000), payload("second", 700_000)
	w.release("app", "1.0", first)
	n.start(w.certOf(n.host()), "0")
	w.depot("sync").check(t, 0)
	w.approve("app", "1.0")
	w.mirrored()
	w.serve()
	d := w.join()
	d.ends(0)
	d.has("app", first)
	for _, a := range n.log() {
		if a.TLS != "TLSv1.3" {
			t.Errorf("not by TLS 1.3: %+v", a)
		}
	}

	w.release("app", "2.0", second)
	w.must("publish", "rotate", w.path(publisherName), "--key", "online")
	before := w.mirror()
	fails := func(what string, code int, says ...string) {
		t.Helper()
		w.depot("sync").check(t, code, append(says, publisherName)...)
		if after := w.mirror(); after != before {
			t.Errorf("%s: the depot served\n%s\nand serves\n%s", what, before, after)
		}
	}
	badFiles(w, fails)
	badServers(w, n, fails)
	w.approve("app", "2.0")
	w.mirrored()
	d.ends(0)
	d.has("app", second)
}

// badFiles spoils what nginx serves of the newest catalogue.
func badFiles(w *world, fails func(what string, code int, says ...string)) {
	w.t.Helper()
	metadata := func(name string) string { return w.path(publisherName, "public", "metadata", name) }
	for _, name := range []string{"2.root.json", "timestamp.json", "4.snapshot.json", "3.targets.json"} {
		for _, at := range positions(len(read(w.t, metadata(name)))) {
			mend := flip(w.t, metadata(name), at)
			fails(name, 4)
			mend()
		}
	}
	mend := hide(w.t, metadata("3.targets.json"))
	fails("half of an upload", 3, "targets")
	mend()
	good := read(w.t, metadata("timestamp.json"))
	write(w.t, metadata("timestamp.json"), []byte("<html>We will be right back"))
	fails("a page", 3)
	write(w.t, metadata("timestamp.json"), good)
}

// badServers puts others in nginx's place, and in the end the good one.
func badServers(w *world, n *nginx, fails func(what string, code int, says ...string)) {
	w.t.Helper()
	n.stop()
	fails("nobody is there", 3, n.addr)
	other := newPublisher(w.t)
	other.must("publish", "cert", other.path(publisherName), n.host())
	n.start(other.certOf(n.host()), "0")
	fails("another publisher's certificate", 4, "is not pinned")
	n.stop()
	w.must("publish", "cert", w.path(publisherName), "acme.example")
	n.start(w.certOf("acme.example"), "0")
	fails("a certificate for another host", 4, "acme.example")
	n.stop()
	n.start(w.certOf(n.host()), "0")
}

// TestAnInterruptedSync is killed at moments that are spread over its length, against a slow web server. What the depot
// serves meanwhile is a whole catalogue, the old one or the new one.
func TestAnInterruptedSync(t *testing.T) {
	t.Parallel()
	w, n := web(t)
	w.release("app", "1.0", payload("1", 1000))
	n.start(w.certOf(n.host()), "0")
	w.approve("app", "1.0")
	w.serve()
	d := w.join()
	w.stopServing() // without a server, sync runs in the process of the command
	took := time.Duration(0)
	const kills = 8
	for i := range kills + 1 {
		w.release("app", fmt.Sprintf("2.%d", i), payload(fmt.Sprint(i), 1000))
		begin := time.Now()
		p := start(t, w.env, binary, "depot", "sync", "--dir", w.path("depot"))
		if i > 0 {
			time.Sleep(took * time.Duration(i) / kills)
			p.stop(syscall.SIGKILL)
		} else if code := p.wait(); code != 0 {
			t.Fatalf("sync ended with %d: %s", code, p.out)
		} else {
			took = time.Since(begin)
			w.mirrored()
		}
		w.serve()
		c := d.clone()
		c.ends(0) // verifies all of the catalogue that is served
		c.has("app", payload("1", 1000))
		w.stopServing()
		if i%2 == 0 {
			w.depot("sync").check(t, 0)
			w.mirrored()
		}
	}
	w.depot("sync").check(t, 0)
	w.mirrored()
}

// TestAnInterruptedApproval gets its content in several runs, of which only the last one ends by itself. What an earlier run
// has got is not fetched again.
func TestAnInterruptedApproval(t *testing.T) {
	t.Parallel()
	w, n := web(t)
	app := payload("app", 12<<20)
	root := w.release("app", "1.0", app)
	n.start(w.certOf(n.host()), "1m") // of each answer
	part := w.path("depot", "incoming", root+".part")
	for share := range 3 {
		p := start(t, w.env, binary, "depot", "approve", name("app", "1.0"), "--ring", ring, "--dir", w.path("depot"))
		until(t, "a part has arrived", func() bool { return p.hasEnded() || len(right(t, part, app)) > 8*(share+1) })
		if p.hasEnded() {
			t.Fatalf("approve ended: %s", p.out)
		}
		p.stop(syscall.SIGKILL)
	}
	have := right(t, part, app)
	n.stop() // then it has logged what was asked for before the kills
	seen := len(n.log())
	n.start(w.certOf(n.host()), "1m")
	if _, err := os.Stat(w.public("content", root)); err == nil {
		t.Error("devices can have what is not whole")
	}
	var result struct {
		Content struct{ Bytes, Fetched, Resumed int64 }
	}
	r := w.depot("approve", name("app", "1.0"), "--ring", ring, "--json")
	r.check(t, 0)
	if err := json.Unmarshal([]byte(r.out), &result); err != nil {
		t.Fatalf("%s: %v", r.out, err)
	}
	c := result.Content
	t.Logf("%d pieces were there; %+v", len(have), c)
	if c.Bytes != int64(len(app)) || c.Fetched+c.Resumed != c.Bytes || c.Resumed < int64(len(have))*pieceLength {
		t.Errorf("%d pieces were there; %+v", len(have), c)
	}
	n.stop()
	for _, a := range n.log()[seen:] {
		if strings.HasSuffix(a.Path, root) && strings.Contains(a.Path, "/content/") {
			notAgain(t, a.Range, len(app), have)
		}
	}
	if b := read(t, w.public("content", root)); string(b) != string(app) {
		t.Error("other bytes were taken in")
	}
}
