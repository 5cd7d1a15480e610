package depot

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/internal/filelock"
	"github.com/dunlin-project/dunlin/internal/publicweb"
	"github.com/dunlin-project/dunlin/metadata"
)

// ServeConfig says how to serve. The zero value serves as init has said.
type ServeConfig struct {
	Listen        string        // of the TLS listener; empty: as init has said
	ContentListen string        // of the plain listener; empty: as init has said
	AccessLog     *AccessLog    // nil: none. The caller closes it.
	SyncEvery     time.Duration // between two syncs of the catalogues; 0: DefaultSyncEvery, below: never
	Conns         int           // of each listener; 0: publicweb.DefaultConns
	ConnsPerHost  int           // of each listener and remote address; 0: publicweb.DefaultConnsPerHost
	// Ready is called once, when the listeners are open. Nil: nobody is told.
	Ready func(Ready)
}

// Ready says where a server listens and how devices join it.
type Ready struct {
	Listen        string        `json:"listen"`
	ContentListen string        `json:"content_listen"`
	URL           string        `json:"url"`
	ContentURL    string        `json:"content_url"`
	Socket        string        `json:"socket"`
	Tokens        []TokenResult `json:"tokens"` // one for each ring
}

// Server serves a depot to devices, and to commands on its socket. Make it with NewServer; it runs once.
type Server struct {
	d       *Depot
	c       ServeConfig
	cert    atomic.Pointer[tls.Certificate]
	answers answers
}

// answers are those under way. Each holds it for reading; the end takes it for good, and with that waits for all of them.
type answers struct{ sync.RWMutex }

func (a *answers) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !a.TryRLock() {
			answer(w, r, http.StatusServiceUnavailable)
			return
		}
		defer a.RUnlock()
		next.ServeHTTP(w, r)
	})
}

// NewServer builds a server. It opens nothing.
func NewServer(d *Depot, c ServeConfig) *Server {
	if c.Listen == "" {
		c.Listen = d.set.Listen
	}
	if c.ContentListen == "" {
		c.ContentListen = d.set.ContentListen
	}
	if c.SyncEvery == 0 {
		c.SyncEvery = DefaultSyncEvery
	}
	if c.Conns <= 0 {
		c.Conns = publicweb.DefaultConns
	}
	if c.ConnsPerHost <= 0 {
		c.ConnsPerHost = publicweb.DefaultConnsPerHost
	}
	return &Server{d: d, c: c}
}

// Run serves until ctx is done; then answers under way get a moment to end. It returns when all it started has ended.
func (s *Server) Run(ctx context.Context) (err error) {
	lock, err := filelock.Acquire(ctx, s.d.at.serveLock())
	if err != nil {
		return fault.WithHint(fmt.Errorf("serve %s: %w", string(s.d.at), err), "another `dunlin depot serve` runs on this folder; stop it first")
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	s.d.sweep()
	if err := s.d.mend(); err != nil {
		return err
	}
	up := &upkeep{d: s.d, use: func(c *tls.Certificate) { s.cert.Store(c) }}
	if err := up.once(ctx, time.Now()); err != nil {
		return err
	}
	public, err := os.OpenRoot(s.d.at.public())
	if err != nil {
		return fmt.Errorf("open public folder: %w", err)
	}
	defer public.Close()
	l, err := s.listen()
	if err != nil {
		return err
	}
	return s.live(ctx, l, up, public)
}

// listeners are open from listen until the HTTP servers close them.
type listeners struct {
	secure, plain *publicweb.Listener
	admin         *adminListener
}

func (s *Server) listen() (*listeners, error) {
	secure, err := s.listenTCP(s.c.Listen)
	if err != nil {
		return nil, err
	}
	plain, err := s.listenTCP(s.c.ContentListen)
	if err != nil {
		return nil, errors.Join(err, secure.Close())
	}
	admin, err := listenAdmin(s.d.at.socket(), s.d.log)
	if err != nil {
		return nil, errors.Join(err, secure.Close(), plain.Close())
	}
	return &listeners{secure, plain, admin}, nil
}

func (s *Server) listenTCP(addr string) (*publicweb.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fault.WithHint(fault.New(fault.Unavailable, "listen: %w", err), "free the port, or name another with --listen or --content-listen")
	}
	return publicweb.Limit(l.(*net.TCPListener), s.c.Conns, s.c.ConnsPerHost), nil
}

func (s *Server) live(ctx context.Context, l *listeners, up *upkeep, public *os.Root) error {
	g, ctx := errgroup.WithContext(ctx)
	small := newSmallFiles(metadata.Compress)
	face := func(parse parsePath, name string) http.Handler {
		return watched(&face{public: public, parse: parse, small: small, log: s.d.log}, name, s.c.AccessLog, s.d.log)
	}
	secure := s.httpServer(face(parseSecure, "tls"))
	secure.TLSConfig = &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.cert.Load(), nil },
	}
	admin := s.httpServer(adminHandler(s.d))
	admin.WriteTimeout, admin.ReadTimeout = 0, 0 // an approval takes as long as its content
	g.Go(func() error {
		return publicweb.Serve(ctx, secure, func() error { return secure.ServeTLS(l.secure, "", "") })
	})
	plain := s.httpServer(face(parsePlain, "plain"))
	g.Go(func() error { return publicweb.Serve(ctx, plain, func() error { return plain.Serve(l.plain) }) })
	g.Go(func() error {
		defer durable.Remove(s.d.at.socket())
		return publicweb.Serve(ctx, admin, func() error { return admin.Serve(l.admin) })
	})
	g.Go(func() error { up.run(ctx); return nil })
	if s.c.SyncEvery > 0 {
		g.Go(func() error { s.d.keepSynced(ctx, s.c.SyncEvery); return nil })
	}
	if err := s.ready(l); err != nil {
		g.Go(func() error { return err })
	}
	err := g.Wait()
	s.answers.Lock()
	return err
}

// httpServer is one with the limits of a public listener.
func (s *Server) httpServer(h http.Handler) *http.Server {
	return publicweb.NewServer(s.answers.counted(h), s.d.log)
}

func (s *Server) ready(l *listeners) error {
	if s.c.Ready == nil {
		return nil
	}
	r := Ready{
		Listen: l.secure.Addr().String(), ContentListen: l.plain.Addr().String(),
		URL: s.d.set.secureURL(), ContentURL: s.d.set.contentURL(), Socket: s.d.at.socket(),
	}
	for _, ring := range s.d.set.Rings {
		t, err := s.d.Token(TokenRequest{Ring: ring})
		if err != nil {
			return err
		}
		r.Tokens = append(r.Tokens, *t)
	}
	s.c.Ready(r)
	return nil
}
