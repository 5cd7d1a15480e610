package cache_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const nginxPath = "/usr/sbin/nginx"

// nginx is a real web server over a folder.
type nginx struct {
	t    *testing.T
	dir  string // of its own files
	root string // what it serves
	addr string
	cmd  *exec.Cmd
}

// access is one line of the access log.
type access struct {
	path     string
	status   int
	bytes    int64 // of the body, as far as it was sent
	complete bool  // the request was answered to its end
}

const nginxConf = `
daemon off;
user root;
worker_processes 1;
pid %[1]s/pid;
error_log %[1]s/error.log;
events { worker_connections 256; }
http {
  log_format bytes '$status $body_bytes_sent $request_completion $uri';
  access_log %[1]s/access.log bytes;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
  keepalive_requests 100000;
  sendfile on;
  server { listen %[2]s; root %[3]s; limit_rate %[4]s; }
}
`

// startNginx serves root; rate bounds each request, in nginx's words ("512k" a second; "0" does not). The bytes of its
// first second go out at once, so only a rate below the size of a range slows down.
func startNginx(t *testing.T, root, rate string) *nginx {
	t.Helper()

	n := &nginx{t: t, dir: t.TempDir(), root: root, addr: loopback() + ":8080"}
	conf := fmt.Sprintf(nginxConf, n.dir, n.addr, root, rate)
	if err := os.WriteFile(filepath.Join(n.dir, "conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	n.start()
	t.Cleanup(n.stop)
	return n
}

func (n *nginx) start() {
	n.t.Helper()
	n.cmd = exec.Command(nginxPath, "-p", n.dir, "-c", filepath.Join(n.dir, "conf"))
	n.cmd.Stderr = os.Stderr
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	for range 500 {
		if c, err := net.Dial("tcp", n.addr); err == nil {
			c.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	n.t.Fatalf("nginx does not answer at %s", n.addr)
}

// stop ends it in good order, so that every request is in the log.
func (n *nginx) stop() {
	if n.cmd != nil {
		n.cmd.Process.Signal(syscall.SIGQUIT)
		n.cmd.Wait()
		n.cmd = nil
	}
}

func (n *nginx) url(path string) string { return "http://" + n.addr + "/" + path }

// log stops the server and returns what it sent of a file.
func (n *nginx) log(path string) (total int64, lines []access) {
	n.t.Helper()
	n.stop()
	f, err := os.Open(filepath.Join(n.dir, "access.log"))
	if err != nil {
		n.t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var a access
		done, rest := "", ""
		status, after, _ := strings.Cut(s.Text(), " ")
		fmt.Sscan(status, &a.status)
		bytes, after, _ := strings.Cut(after, " ")
		fmt.Sscan(bytes, &a.bytes)
		done, rest, _ = strings.Cut(after, " ")
		a.complete, a.path = done == "OK", strings.TrimPrefix(rest, "/")
		if a.path == path {
			lines = append(lines, a)
			total += a.bytes
		}
	}
	return total, lines
}

// whole reports whether no connection broke.
func whole(lines []access) bool {
	for _, l := range lines {
		if !l.complete {
			return false
		}
	}
	return true
}
