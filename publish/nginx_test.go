package publish_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/publish"
)

const nginxConf = `
%s
daemon off;
pid %[2]s/pid;
error_log %[2]s/error.log;
events {}
http {
  access_log off;
  client_body_temp_path %[2]s/body; proxy_temp_path %[2]s/proxy; fastcgi_temp_path %[2]s/fastcgi;
  uwsgi_temp_path %[2]s/uwsgi; scgi_temp_path %[2]s/scgi;
  server {
    listen %[3]s ssl;
    ssl_protocols TLSv1.3;
    ssl_certificate %[4]s;
    ssl_certificate_key %[5]s;
    root %[6]s;
  }
}
`

// nginx serves DIR/public as it is, with the certificate that cert wrote, and a depot mirrors it over pinned TLS.
func TestNginxServesPublicAsItIs(t *testing.T) {
	t.Parallel()
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		if nginx = "/usr/sbin/nginx"; !exists(nginx) {
			t.Skip("nginx is not installed")
		}
	}
	addr := freeAddr(t)
	d := newDeskAt(t, publish.InitRequest{URLs: []string{"https://" + addr}}, time.Now())
	d.add(t, strings.Repeat("0123456789abcdef", 1<<16), "1.0")
	d.release(t)
	cert, err := d.Cert(t.Context(), []string{"127.0.0.1"}, 30*day, d.now)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, nginx, addr, cert, d.path("public"))

	sync := func(trust *metadata.Trust) (*metadata.Catalogue, *metadata.Mirror, error) {
		m, err := metadata.NewMirror(metadata.MirrorConfig{Dir: filepath.Join(t.TempDir(), "mirror"), Trust: trust})
		if err != nil {
			t.Fatal(err)
		}
		c, err := m.Sync(t.Context(), d.now)
		return c, m, err
	}
	trust := d.trust(t)
	c, m, err := sync(trust)
	if err != nil {
		t.Fatal(err)
	}
	target, ok := c.Target("editor/1.0")
	if !ok {
		t.Fatal("the update is not there")
	}
	content, err := target.Content()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Layer(t.Context(), content, d.now); err != nil {
		t.Errorf("layer: %v", err)
	}

	stranger := newDesk(t, publish.InitRequest{}).trust(t)
	trust.CA, trust.Pins = stranger.CA, stranger.Pins
	if _, _, err := sync(trust); !fault.Is(err, fault.Untrusted) {
		t.Errorf("with another authority pinned: %v", err)
	}
}

func serve(t *testing.T, nginx, addr string, cert *publish.Certified, root string) {
	t.Helper()
	dir := t.TempDir()
	user := "" // as root, the workers are somebody who owns nothing here: what they read, any web server can
	if os.Geteuid() == 0 {
		user = "user nobody nogroup;"
		for p := root; p != os.TempDir() && p != "/"; p = filepath.Dir(p) {
			if err := os.Chmod(p, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	conf := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(nginxConf, user, dir, addr, cert.Cert, cert.Key, root)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), nginx, "-c", conf)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() })
	for range 200 {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	log, _ := os.ReadFile(filepath.Join(dir, "error.log"))
	t.Fatalf("nginx does not answer:\n%s", log)
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (d *desk) trust(t *testing.T) *metadata.Trust {
	t.Helper()
	b, err := os.ReadFile(d.path("publisher.trust"))
	if err != nil {
		t.Fatal(err)
	}
	trust, err := metadata.ParseTrust(b)
	if err != nil {
		t.Fatal(err)
	}
	return trust
}
