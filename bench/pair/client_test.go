package pair

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Every process has an address of its own.
const (
	seederAddr  = "127.0.77.1"
	leecherAddr = "127.0.77.2"
)

// content is the file that is moved: in the seeders' folder, with its metainfo beside it.
type content struct {
	dir     string
	file    string // its name
	torrent string
	size    int64
}

// client is one program, at both ends.
type client interface {
	// serve starts the seeder and returns where it is found.
	serve(t *testing.T, c content) (*proc, string)
	// fetch is the command line that brings the file from there to dir.
	fetch(c content, dir, from string) []string
	// done is in the line that says the file is whole.
	done() string
}

type dunlin struct{ bin string }

func (d dunlin) serve(t *testing.T, c content) (*proc, string) {
	p := start(t, []string{d.bin, "get", c.torrent, "-o", c.dir, "--listen", seederAddr + ":7680", "--seed", "1h", "--json"})
	var e struct{ Addrs []string }
	if err := json.Unmarshal([]byte(p.wait(t, `"listening"`)), &e); err != nil || len(e.Addrs) == 0 {
		t.Fatalf("the seeder's addresses: %v, %v", e.Addrs, err)
	}
	p.wait(t, d.done()) // it has checked its file
	return p, e.Addrs[0]
}

func (d dunlin) fetch(c content, dir, from string) []string {
	return []string{d.bin, "get", c.torrent, "-o", dir, "--listen", leecherAddr + ":7680", "--peer", from, "--json"}
}

func (dunlin) done() string { return `"done"` }

type libtorrent struct{}

func (libtorrent) serve(t *testing.T, c content) (*proc, string) {
	p := start(t, []string{"/usr/bin/python3", "peer.py", c.torrent, c.dir, seederAddr})
	p.wait(t, "listening")
	return p, seederAddr + ":6881"
}

func (libtorrent) fetch(c content, dir, from string) []string {
	return []string{"/usr/bin/python3", "peer.py", c.torrent, dir, leecherAddr, from}
}

func (libtorrent) done() string { return "done" }

// curl is the floor: plain HTTP, and one hash afterwards.
type curl struct{}

const nginxConf = `user root; daemon off; worker_processes 1; pid %[1]s/nginx.pid; error_log %[1]s/error.log;
events { worker_connections 64; }
http {
  access_log off; sendfile on;
  client_body_temp_path %[1]s/tmp; proxy_temp_path %[1]s/tmp; fastcgi_temp_path %[1]s/tmp; uwsgi_temp_path %[1]s/tmp; scgi_temp_path %[1]s/tmp;
  server { listen %[2]s:8080; root %[3]s; }
}`

func (curl) serve(t *testing.T, c content) (*proc, string) {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, dir, seederAddr, c.dir), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, []string{"nginx", "-c", conf, "-p", dir})
	url := "http://" + seederAddr + ":8080/" + c.file
	for range 200 {
		if run("curl", "-sfI", url) == nil {
			return p, url
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("nginx does not answer")
	return nil, ""
}

func (curl) fetch(c content, dir, from string) []string {
	name := filepath.Join(dir, c.file)
	return []string{"sh", "-c", strings.Join([]string{"curl -sf -o", name, from, "&& sha256sum", name}, " ")}
}

func (curl) done() string { return "content.bin" }
