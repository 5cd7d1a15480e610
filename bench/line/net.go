package line

import (
	_ "embed"
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

// LANRate is the rate of every link but the origin's, as tc writes it.
const LANRate = "1gbit"

// File is the name of the content.
const File = "content.bin"

// Network is one origin behind a thin line and some hosts, all on one switch, or on two with a router between them.
type Network struct {
	T      *testing.T
	Origin *lab.Host
	Hosts  []*lab.Host
	Shape
	Dir string // of the origin's files

	disks string // of the devices, in memory
}

// Shape of a network.
type Shape struct {
	Devices int
	Size    int64 // bytes of the content
	Mbit    int   // rate of the origin's line, Mbit/s
	Subnets bool  // the first half of the hosts on one network, the others on another, the origin on a third
}

//go:embed make_torrent.py
var makeTorrent string

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

// Build makes the network; the origin's line has the given rate, every other link LANRate. It is gone when the test ends.
func Build(t *testing.T, maker *lab.Maker, s Shape) *Network {
	t.Helper()
	w := &Network{T: t, Shape: s, Dir: t.TempDir(), disks: disks(t)}
	if s.Subnets {
		w.subnets(maker, s.Devices)
	} else {
		l := maker.New(t)
		w.Origin = l.Host(lab.Options{Rate: LANRate})
		for range s.Devices {
			w.Hosts = append(w.Hosts, l.Host(lab.Options{Rate: LANRate}))
		}
	}
	w.Run(w.Origin, "tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", fmt.Sprintf("%dmbit", s.Mbit), "burst", "256kb", "latency", "200ms")
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

// Folder returns a new empty folder in memory.
func (w *Network) Folder() string {
	w.T.Helper()
	dir, err := os.MkdirTemp(w.disks, "device")
	if err != nil {
		w.T.Fatal(err)
	}
	return dir
}

// subnets makes two networks of devices and one of the origin, and a router that stands in all three. Multicast does not
// pass it.
func (w *Network) subnets(maker *lab.Maker, n int) {
	wan, a, b := maker.New(w.T), maker.NewNet(w.T, 1), maker.NewNet(w.T, 2)
	w.Origin = wan.Host(lab.Options{Rate: LANRate})
	router := wan.Host(lab.Options{Rate: LANRate})
	w.Origin.Route(router.Addr)
	router.Forward()
	for i, l := range []*lab.Lab{a, b} {
		gate := l.Join(router, lab.Options{Rate: LANRate})
		count := n / 2
		if i == 1 {
			count = n - n/2
		}
		for range count {
			h := l.Host(lab.Options{Rate: LANRate})
			h.Route(gate)
			w.Hosts = append(w.Hosts, h)
		}
	}
}

// fill makes the content and its torrent.
func (w *Network) fill() {
	w.T.Helper()
	www := filepath.Join(w.Dir, "www")
	if err := os.MkdirAll(www, 0o755); err != nil {
		w.T.Fatal(err)
	}
	if err := os.Chmod(w.Dir, 0o755); err != nil {
		w.T.Fatal(err)
	}
	w.Sh(fmt.Sprintf("head -c %d /dev/urandom > %s", w.Size, w.Content()))
	make := exec.Command("/usr/bin/python3", "-c", makeTorrent, w.Content(), w.URL(), w.Torrent(), fmt.Sprint(w.PieceLength()))
	if out, err := make.CombinedOutput(); err != nil {
		w.T.Fatalf("make a torrent: %v\n%s", err, out)
	}
}

// serve starts nginx and waits until it answers.
func (w *Network) serve() {
	w.T.Helper()
	conf := filepath.Join(w.Dir, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, w.Dir), 0o600); err != nil {
		w.T.Fatal(err)
	}
	w.Origin.Start(w.T, nil, "nginx", "-c", conf, "-p", w.Dir)
	for range 100 {
		if _, err := w.Hosts[0].Run(w.T.Context(), nil, "curl", "-sfI", w.URL()); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	w.T.Fatal("nginx does not answer")
}

// Content is the path of the content on this machine.
func (w *Network) Content() string { return filepath.Join(w.Dir, "www", File) }

// Torrent is the path of its metainfo file, which names the origin.
func (w *Network) Torrent() string { return filepath.Join(w.Dir, "content.torrent") }

// URL is where the origin has the content.
func (w *Network) URL() string { return "http://" + w.Origin.Addr + "/" + File }

// Run runs a command on a host to its end, which must be good, and returns what it printed.
func (w *Network) Run(h *lab.Host, args ...string) string {
	w.T.Helper()
	out, err := h.Run(w.T.Context(), nil, args[0], args[1:]...)
	if err != nil {
		w.T.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// Sh runs a line of shell on this machine, which must end well.
func (w *Network) Sh(line string) {
	w.T.Helper()
	if out, err := exec.Command("bash", "-c", line).CombinedOutput(); err != nil {
		w.T.Fatalf("%s: %v\n%s", line, err, out)
	}
}

// PieceLength is that of the torrent, in bytes.
func (w *Network) PieceLength() int64 { return piecehash.DefaultPieceLength(w.Size) }

// Compare returns an error unless the file in a folder is the content, byte for byte; and removes it.
func (w *Network) Compare(name string) error {
	defer os.Remove(name)
	if out, err := exec.Command("cmp", name, w.Content()).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
