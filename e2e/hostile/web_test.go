package hostile

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/metadata/repository/ca"
)

const week = 7 * 24 * time.Hour

// authority is that of the depot: whoever has taken the depot over has it.
func (w *world) authority() *ca.Authority {
	w.t.Helper()
	a, err := ca.Load(read(w.t, w.path("depot", "ca.pem")), read(w.t, w.path("depot", "keys", "online", "ca.key")))
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// certificate issues one; begin is when its life of a week began.
func certificate(t *testing.T, a *ca.Authority, begin time.Time, host string) tls.Certificate {
	t.Helper()
	leaf, err := a.Issue([]string{host}, week, begin)
	if err != nil {
		t.Fatal(err)
	}
	c, err := tls.X509KeyPair(leaf.Chain, leaf.Key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// impostor is a server in the place of a depot.
type impostor struct {
	host string
	stop func()

	mu       sync.Mutex // guards what follows
	conns    int        // that were opened to the TLS listener
	requests []string   // in their order: scheme, path
}

// impersonate listens where a depot at host would, for TLS and plain HTTP, and answers both by the handler.
func impersonate(t *testing.T, host string, cert tls.Certificate, handler http.Handler) *impostor {
	t.Helper()
	i := &impostor{host: host}
	listen := func(port string) net.Listener {
		t.Helper()
		l, err := net.Listen("tcp", host+port)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	quiet := log.New(io.Discard, "", 0)
	secure := &http.Server{
		Handler: i.noted("https", handler), ErrorLog: quiet,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13},
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				i.mu.Lock()
				defer i.mu.Unlock()
				i.conns++
			}
		},
	}
	plain := &http.Server{Handler: i.noted("http", handler), ErrorLog: quiet}
	l, m := listen(tlsPort), listen(plainPort)
	go func() { _ = secure.ServeTLS(l, "", "") }()
	go func() { _ = plain.Serve(m) }()
	i.stop = func() {
		_ = secure.Close()
		_ = plain.Close()
	}
	t.Cleanup(i.stop)
	return i
}

func (i *impostor) noted(scheme string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		i.requests = append(i.requests, scheme+" "+r.URL.Path)
		i.mu.Unlock()
		h.ServeHTTP(w, r)
	})
}

// replaced has an impostor answer in the depot's place while do runs.
func (w *world) replaced(cert tls.Certificate, handler http.Handler, do func(*impostor)) {
	w.t.Helper()
	w.stopServing()
	i := impersonate(w.t, w.host, cert, handler)
	do(i)
	i.stop()
	w.serve()
}

// seen returns what has arrived since the last call.
func (i *impostor) seen() (conns int, requests []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	conns, requests = i.conns, i.requests
	i.conns, i.requests = 0, nil
	return conns, requests
}
