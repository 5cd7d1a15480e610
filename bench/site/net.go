package site

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/e2e/lab"
)

// network is one origin behind a thin line and n hosts, all on one switch.
type network struct {
	t      *testing.T
	origin *lab.Host
	hosts  []*lab.Host
	dir    string
	file   string // name of the content
	size   int64
	log    string // nginx's access log
}

const nginxConf = `user root; daemon off; worker_processes 1; pid %[1]s/nginx.pid; error_log %[1]s/error.log;
events { worker_connections 1024; }
http {
  log_format bytes '$body_bytes_sent $status';
  access_log %[1]s/access.log bytes;
  sendfile on; keepalive_requests 100000;
  client_body_temp_path %[1]s/tmp; proxy_temp_path %[1]s/tmp; fastcgi_temp_path %[1]s/tmp; uwsgi_temp_path %[1]s/tmp; scgi_temp_path %[1]s/tmp;
  server { listen 80; root %[1]s/www; }
}`

// build makes the network; the origin's line has the given Mbit/s, every other link 1 Gbit/s.
func build(t *testing.T, maker *lab.Maker, n int, size int64, mbit int) *network {
	t.Helper()
	l := maker.New(t)
	w := &network{t: t, dir: t.TempDir(), file: "content.bin", size: size}
	w.origin = l.Host(lab.Options{Rate: "1gbit"})
	for range n {
		w.hosts = append(w.hosts, l.Host(lab.Options{Rate: "1gbit"}))
	}
	w.run(w.origin, "tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", fmt.Sprintf("%dmbit", mbit), "burst", "256kb", "latency", "200ms")
	www := filepath.Join(w.dir, "www")
	if err := os.MkdirAll(www, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(w.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w.sh(fmt.Sprintf("head -c %d /dev/urandom > %s", size, filepath.Join(www, w.file)))
	conf := filepath.Join(w.dir, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, w.dir), 0o600); err != nil {
		t.Fatal(err)
	}
	w.log = filepath.Join(w.dir, "access.log")
	w.origin.Start(t, nil, "nginx", "-c", conf, "-p", w.dir)
	w.sh(fmt.Sprintf("/usr/bin/python3 make_torrent.py %s http://%s/%s %s", filepath.Join(www, w.file), w.origin.Addr, w.file, w.torrent()))
	w.waitWeb()
	return w
}

func (w *network) torrent() string { return filepath.Join(w.dir, "content.torrent") }

func (w *network) waitWeb() {
	w.t.Helper()
	for range 100 {
		if _, err := w.hosts[0].Run(w.t.Context(), nil, "curl", "-sfI", "http://"+w.origin.Addr+"/"+w.file); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	w.t.Fatal("nginx does not answer")
}

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

// served returns the payload bytes that the origin has logged, and what its link has sent. nginx writes a line when an
// answer ends, so the caller waits for the clients first.
func (w *network) served() (logged, linked int64) {
	w.t.Helper()
	time.Sleep(100 * time.Millisecond)
	f, err := os.Open(w.log)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		n, _, _ := strings.Cut(s.Text(), " ")
		v, _ := strconv.ParseInt(n, 10, 64)
		logged += v
	}
	out := strings.TrimSpace(w.run(w.origin, "cat", "/sys/class/net/eth0/statistics/tx_bytes"))
	linked, err = strconv.ParseInt(out, 10, 64)
	if err != nil {
		// ip netns exec mounts its own /sys only where it may.
		linked = 0
	}
	return logged, linked
}

// idle returns the idle and all CPU time of the machine, in ticks.
func idle(t *testing.T) (idle, all int64) {
	t.Helper()
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	for i, f := range strings.Fields(line)[1:] {
		v, _ := strconv.ParseInt(f, 10, 64)
		all += v
		if i == 3 {
			idle = v
		}
	}
	return idle, all
}

// stopAll ends processes and returns the CPU seconds that they used.
func stopAll(cmds []*exec.Cmd, cancel context.CancelFunc) (cpu float64) {
	cancel()
	for _, c := range cmds {
		_ = c.Wait()
		if c.ProcessState != nil {
			cpu += (c.ProcessState.UserTime() + c.ProcessState.SystemTime()).Seconds()
		}
	}
	return cpu
}
