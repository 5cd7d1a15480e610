package measure

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/dunlin-project/dunlin/internal/fault"
)

const (
	scrapes       = 4 // answered at once; others are told to come later
	scrapeTimeout = 10 * time.Second
	maxHeader     = 8 << 10 // bytes
)

// Listen takes the address that metrics are served on, IP:PORT.
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fault.WithHint(fault.New(fault.Unavailable, "listen for metrics: %w", err),
			"choose another address with --metrics, or none with --metrics off")
	}
	return l, nil
}

// Serve answers GET /metrics until ctx ends, which is no error. It closes l.
func Serve(ctx context.Context, l net.Listener, g prometheus.Gatherer) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(g, promhttp.HandlerOpts{MaxRequestsInFlight: scrapes}))
	srv := &http.Server{Handler: mux, ReadTimeout: scrapeTimeout, WriteTimeout: scrapeTimeout, MaxHeaderBytes: maxHeader}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = srv.Close()
	})
	err := srv.Serve(l)
	if stop() {
		return fmt.Errorf("serve metrics at %v: %w", l.Addr(), err)
	}
	<-done
	return nil
}
