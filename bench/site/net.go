package site

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/e2e/lab"
	"github.com/dunlin-project/dunlin/piecehash"
)

// lanRate is the rate of every link but the origin's.
const lanRate = "1gbit"

// network is one origin behind a thin line and some hosts, all on one switch, or on two with a router between them.
type network struct {
	t      *testing.T
	origin *lab.Host
	hosts  []*lab.Host
	dir    string
	disks  string // of the devices, in memory
	file   string // name of the content
	size   int64
	mbit   int // rate of the origin's line
}

// shape of a network.
type shape struct {
	devices int
	size    int64 // bytes of the content
	mbit    int   // rate of the origin's line, Mbit/s
	subnets bool  // the first half of the hosts on one network, the others on another, the origin on a third
}

const nginxConf = `user root; daemon off; worker_processes 1; pid %[1]s/nginx.pid; error_log %[1]s/error.log;
worker_shutdown_timeout 300ms;
events { worker_connections 1024; }
http {
  log_format ranges '$remote_addr $body_bytes_sent $status $msec "$request_completion" "$http_range"';
  access_log %[1]s/access.log ranges;
  sendfile on; keepalive_requests 100000;
  client_body_temp_path %[1]s/tmp; proxy_temp_path %[1]s/tmp; fastcgi_temp_path %[1]s/tmp; uwsgi_temp_path %[1]s/tmp; scgi_temp_path %[1]s/tmp;
  server { listen 80; root %[1]s/www; }
}`

// build makes the network; the origin's line has the given rate, every other link lanRate.
func build(t *testing.T, maker *lab.Maker, s shape) *network {
	t.Helper()
	w := &network{t: t, dir: t.TempDir(), disks: disks(t), file: "content.bin", size: s.size, mbit: s.mbit}
	if s.subnets {
		w.subnets(maker, s.devices)
	} else {
		l := maker.New(t)
		w.origin = l.Host(lab.Options{Rate: lanRate})
		for range s.devices {
			w.hosts = append(w.hosts, l.Host(lab.Options{Rate: lanRate}))
		}
	}
	w.run(w.origin, "tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", fmt.Sprintf("%dmbit", s.mbit), "burst", "256kb", "latency", "200ms")
	w.fill()
	w.serve()
	return w
}

// disks is where the devices' folders go: memory. In a site each device has a disk of its own; on one disk of this machine
// they would wait for each other, at the end of a run above all, when those that keep their promise to make a file durable
// all sync at once.
func disks(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=80%,mode=755", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Fatalf("mount a file system in memory: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	return dir
}

// folder returns a new empty folder in memory.
func (w *network) folder() string {
	w.t.Helper()
	dir, err := os.MkdirTemp(w.disks, "device")
	if err != nil {
		w.t.Fatal(err)
	}
	return dir
}

// subnets makes two networks of devices and one of the origin, and a router that stands in all three. Multicast does not
// pass it.
func (w *network) subnets(maker *lab.Maker, n int) {
	wan, a, b := maker.New(w.t), maker.NewNet(w.t, 1), maker.NewNet(w.t, 2)
	w.origin = wan.Host(lab.Options{Rate: lanRate})
	router := wan.Host(lab.Options{Rate: lanRate})
	w.origin.Route(router.Addr)
	router.Forward()
	for i, l := range []*lab.Lab{a, b} {
		gate := l.Join(router, lab.Options{Rate: lanRate})
		count := n / 2
		if i == 1 {
			count = n - n/2
		}
		for range count {
			h := l.Host(lab.Options{Rate: lanRate})
			h.Route(gate)
			w.hosts = append(w.hosts, h)
		}
	}
}

// fill makes the content and its torrent.
func (w *network) fill() {
	w.t.Helper()
	www := filepath.Join(w.dir, "www")
	if err := os.MkdirAll(www, 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Chmod(w.dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	w.sh(fmt.Sprintf("head -c %d /dev/urandom > %s", w.size, w.content()))
	w.sh(fmt.Sprintf("/usr/bin/python3 make_torrent.py %s %s %s %d", w.content(), w.url(), w.torrent(), w.pieceLength()))
	w.sh(fmt.Sprintf("printf '#!/bin/sh\\necho done\\n' > %[1]s; chmod +x %[1]s", w.hook()))
}

// serve starts nginx and waits until it answers.
func (w *network) serve() {
	w.t.Helper()
	conf := filepath.Join(w.dir, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, w.dir), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.origin.Start(w.t, nil, "nginx", "-c", conf, "-p", w.dir)
	for range 100 {
		if _, err := w.hosts[0].Run(w.t.Context(), nil, "curl", "-sfI", w.url()); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	w.t.Fatal("nginx does not answer")
}

func (w *network) content() string { return filepath.Join(w.dir, "www", w.file) }
func (w *network) torrent() string { return filepath.Join(w.dir, "content.torrent") }
func (w *network) url() string     { return "http://" + w.origin.Addr + "/" + w.file }

// hook is a script that says "done", for clients that can only run one.
func (w *network) hook() string { return filepath.Join(w.dir, "done.sh") }

func (w *network) run(h *lab.Host, args ...string) string {
	w.t.Helper()
	out, err := h.Run(w.t.Context(), nil, args[0], args[1:]...)
	if err != nil {
		w.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (w *network) sh(line string) {
	w.t.Helper()
	if out, err := exec.Command("bash", "-c", line).CombinedOutput(); err != nil {
		w.t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

// pieceLength is that of the torrent, in bytes.
func (w *network) pieceLength() int64 { return piecehash.DefaultPieceLength(w.size) }
