package publicweb

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// serve runs a server with the limits of this package until the test ends, and returns its address and a way to stop it.
func serve(t *testing.T, h http.HandlerFunc) (addr string, stop func() error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := NewServer(h, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(ctx, srv, func() error { return srv.Serve(Limit(l.(*net.TCPListener), 64, 64)) })
	}()
	stop = func() error { cancel(); return <-ended }
	t.Cleanup(cancel)
	return l.Addr().String(), stop
}

// TestWriterSendsAFile in several chunks, by either way in, and counts it.
func TestWriterSendsAFile(t *testing.T) {
	t.Parallel()
	want := bytes.Repeat([]byte("0123456789abcdef"), 3*steadyChunk/16)
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, want, 0o600); err != nil {
		t.Fatal(err)
	}
	counted := make(chan int64, 2)
	addr, stop := serve(t, func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(name)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		s := NewWriter(w)
		if r.URL.Path == "/limited" {
			_, err = s.ReadFrom(&io.LimitedReader{R: f, N: steadyChunk + 1})
		} else {
			_, err = s.ReadFrom(f)
		}
		if err != nil || s.Status() != http.StatusOK {
			t.Errorf("status %d, %v", s.Status(), err)
		}
		counted <- s.Bytes()
	})
	for path, n := range map[string]int{"/": len(want), "/limited": steadyChunk + 1} {
		resp, err := http.Get("http://" + addr + path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !bytes.Equal(got, want[:n]) {
			t.Errorf("%s: %d bytes, %v, want %d", path, len(got), err, n)
		}
		if c := <-counted; c != int64(n) {
			t.Errorf("%s: counted %d bytes, want %d", path, c, n)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// TestEndlessHeadersEnd with an answer, not with memory.
func TestEndlessHeadersEnd(t *testing.T) {
	t.Parallel()
	addr, _ := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the request got through") })
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(60 * time.Second))
	go func() {
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n")
		for range 1 << 16 {
			if _, err := io.WriteString(c, "X: "+strings.Repeat("y", 60)+"\r\n"); err != nil {
				return
			}
		}
	}()
	head := make([]byte, 12)
	switch _, err := io.ReadFull(c, head); {
	case err == nil && string(head) != "HTTP/1.1 431":
		t.Errorf("answer %q", head)
	case errors.Is(err, os.ErrDeadlineExceeded):
		t.Error("the connection stays open")
	}
}

// taker is a ResponseWriter that takes whole sources, as that of net/http does with files.
type taker struct {
	http.ResponseWriter
	files, others int
}

func (k *taker) ReadFrom(src io.Reader) (int64, error) {
	if l, ok := src.(*io.LimitedReader); ok {
		if _, ok := l.R.(*os.File); ok {
			k.files++
			return io.Copy(io.Discard, src)
		}
	}
	k.others++
	return io.Copy(io.Discard, src)
}

// TestWriterHandsOverFiles: every chunk reaches the connection as a file under one limit, which is what the kernel copies by
// itself (sendfile); and the connections of a limited listener still take it.
func TestWriterHandsOverFiles(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, make([]byte, 2*steadyChunk+7), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	k := new(taker)
	if n, err := NewWriter(k).ReadFrom(&io.LimitedReader{R: f, N: 2*steadyChunk + 1}); err != nil || n != 2*steadyChunk+1 || k.files != 3 || k.others != 0 {
		t.Errorf("%d bytes, %v; %d chunks were files, %d were not", n, err, k.files, k.others)
	}
	var conn net.Conn = &limitedConn{}
	if _, ok := conn.(io.ReaderFrom); !ok {
		t.Error("a limited connection does not take files")
	}
}
