package loop

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

	"github.com/dunlin-project/dunlin/e2e/lab"
)

// nginxPath is where Debian has it; PATH of an ordinary user does not lead there.
const nginxPath = "/usr/sbin/nginx"

// Nginx is a real web server over a folder.
type Nginx struct {
	Cmd *exec.Cmd // nil while it does not run

	t    *testing.T
	dir  string // of its own files
	addr string
}

// Access is one line of the access log.
type Access struct {
	Path     string
	Status   int
	Bytes    int64 // of the body, as far as it was sent
	Complete bool  // the request was answered to its end
}

const nginxConf = `
daemon off;
user root;
worker_processes auto;
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

// StartNginx serves the folder root; rate bounds each request, in nginx's words ("512k" a second; "0" does not). The bytes of
// its first second go out at once, so only a rate below the size of a range slows down. It skips the test where lab.Need does.
func (p *Programs) StartNginx(t *testing.T, root, rate string) *Nginx {
	t.Helper()
	lab.Need(t, nginxPath)
	n := &Nginx{t: t, dir: t.TempDir(), addr: p.Loopback() + ":8080"}
	conf := fmt.Sprintf(nginxConf, n.dir, n.addr, root, rate)
	if err := os.WriteFile(filepath.Join(n.dir, "conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	n.Start()
	t.Cleanup(n.Stop)
	return n
}

// Start starts it again after Stop or Kill, and returns when it answers.
func (n *Nginx) Start() {
	n.t.Helper()
	n.Cmd = exec.Command(nginxPath, "-p", n.dir, "-c", filepath.Join(n.dir, "conf"))
	n.Cmd.Stderr = os.Stderr
	if err := n.Cmd.Start(); err != nil {
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

// Stop ends it in good order, so that every request is in the log.
func (n *Nginx) Stop() { n.end(syscall.SIGQUIT) }

// Kill ends it in the middle of everything.
func (n *Nginx) Kill() { n.end(syscall.SIGTERM) }

func (n *Nginx) end(s syscall.Signal) {
	if n.Cmd != nil {
		_ = n.Cmd.Process.Signal(s)
		_ = n.Cmd.Wait()
		n.Cmd = nil
	}
}

// URL is that of a path below the folder.
func (n *Nginx) URL(path string) string { return "http://" + n.addr + "/" + path }

// Log stops the server and returns what it sent of a file.
func (n *Nginx) Log(path string) (total int64, lines []Access) {
	n.t.Helper()
	n.Stop()
	f, err := os.Open(filepath.Join(n.dir, "access.log"))
	if err != nil {
		n.t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		a := parseAccess(s.Text())
		if a.Path == path {
			lines = append(lines, a)
			total += a.Bytes
		}
	}
	return total, lines
}

// parseAccess reads a line in the format of nginxConf. The third field is empty when the answer broke off.
func parseAccess(line string) (a Access) {
	f := strings.SplitN(line, " ", 4)
	if len(f) < 4 {
		return Access{}
	}
	fmt.Sscan(f[0], &a.Status)
	fmt.Sscan(f[1], &a.Bytes)
	a.Complete, a.Path = f[2] == "OK", strings.TrimPrefix(f[3], "/")
	return a
}

// Whole reports whether no connection broke.
func Whole(lines []Access) bool {
	for _, l := range lines {
		if !l.Complete {
			return false
		}
	}
	return true
}
