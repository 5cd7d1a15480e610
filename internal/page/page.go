package page

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/internal/history"
	"github.com/dunlin-project/dunlin/internal/publicweb"
)

const (
	// sampleEvery is how often counters are read while somebody looks, restEvery while nobody does.
	sampleEvery = time.Second
	restEvery   = 15 * time.Second
	// attention is how long somebody who has asked is taken to be still looking.
	attention = 15 * time.Second
	// saveEvery is how much of the history a power cut may take.
	saveEvery = 5 * time.Minute

	maxConns = 32 // browsers open six each
)

// Config is what a Page is made of.
type Config struct {
	// Listen is an IP:PORT of a loopback address; port 0 is any free one.
	Listen string
	// Elsewhere says that any free port will do when the one of Listen is taken: it is nobody's choice but a default.
	Elsewhere bool
	Subject   Subject
	// History is the file in which to keep what came and went; "" keeps it in memory.
	History string
	Log     *slog.Logger // nil: silent
}

// Page is the page of one machine. New makes it, Run gives it life.
type Page struct {
	subject Subject
	history *history.History
	log     *slog.Logger
	listen  *net.TCPListener
	assets  *assets
	born    time.Time
	wake    chan struct{} // cap 1: somebody has begun to look

	mu     sync.Mutex // guards the rest
	rates  sampler    // written by Run
	looked time.Time  // when somebody last asked
}

// CheckListen refuses, with fault.Usage, what is not an IP:PORT of a loopback address.
func CheckListen(s string) error {
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return fault.New(fault.Usage, "%.60q is not an IP:PORT", s)
	}
	if !a.Addr().Unmap().IsLoopback() || a.Addr().Zone() != "" {
		return fault.WithHint(fault.New(fault.Usage, "%v is not a loopback address, and the page is for this machine alone", a),
			"use 127.0.0.1:PORT; from elsewhere: ssh -L PORT:127.0.0.1:PORT THIS-MACHINE")
	}
	return nil
}

// New binds the listener, so that URL is known and an address in use is an error here, and reads the history. It starts
// nothing. Call Run or Close.
func New(cfg Config) (*Page, error) {
	if err := CheckListen(cfg.Listen); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	assets, err := loadAssets()
	if err != nil {
		return nil, err
	}
	l, err := bind(cfg.Listen, cfg.Elsewhere)
	if err != nil {
		return nil, err
	}
	p := &Page{
		subject: cfg.Subject, history: history.New(), log: cfg.Log, listen: l, assets: assets,
		born: time.Now(), wake: make(chan struct{}, 1),
	}
	if cfg.History != "" {
		p.history = history.Open(cfg.History, cfg.Log)
	}
	return p, nil
}

func bind(addr string, elsewhere bool) (*net.TCPListener, error) {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) && elsewhere {
		host, _, _ := net.SplitHostPort(addr)
		l, err = net.Listen("tcp", net.JoinHostPort(host, "0"))
	}
	if err != nil {
		return nil, fault.WithHint(fault.New(fault.Unavailable, "serve the page: %w", err),
			"choose another address with --page, port 0 for any free one, or none with --page off")
	}
	return l.(*net.TCPListener), nil
}

// URL returns where the page is.
func (p *Page) URL() string { return "http://" + p.listen.Addr().String() + "/" }

// Close releases the listener of a page that was never run.
func (p *Page) Close() error { return p.listen.Close() }

// Run serves and counts until ctx ends, which is no error. When it returns, the history is on the disk.
func (p *Page) Run(ctx context.Context) error {
	srv := publicweb.NewServer(p.Handler(), p.log)
	l := publicweb.Limit(p.listen, maxConns, maxConns)
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	wg.Go(func() { p.count(ctx) })
	err := publicweb.Serve(ctx, srv, func() error { return srv.Serve(l) })
	cancel()
	wg.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("serve the page: %w", err)
	}
	return nil
}

// count reads the counters again and again: often while somebody looks, seldom otherwise, for a laptop in a bag should sleep.
func (p *Page) count(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	saved := time.Now()
	for {
		select {
		case <-timer.C:
		case <-p.wake:
		case <-ctx.Done():
			p.sample(time.Now())
			p.save()
			return
		}
		now := time.Now()
		p.sample(now)
		if now.Sub(saved) >= saveEvery {
			saved = now
			p.save()
		}
		timer.Reset(p.pause(now))
	}
}

func (p *Page) save() {
	if err := p.history.Save(); err != nil {
		p.log.Warn("what came and went is not kept", slog.Any("err", err))
	}
}

// sample reads the counters once.
func (p *Page) sample(now time.Time) {
	c := p.subject.Counters()
	tick := now.Sub(p.born)
	p.history.Observe(now, tick, c.Total)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rates.add(tick, c)
}

// pause is how long to wait for the next sample.
func (p *Page) pause(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.looked) < attention {
		return sampleEvery
	}
	return restEvery
}

// notice notes that somebody looks. Who begins to look has the counters read at once.
func (p *Page) notice(now time.Time) {
	p.mu.Lock()
	begins := now.Sub(p.looked) >= attention
	p.looked = now
	p.mu.Unlock()
	if begins {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}
