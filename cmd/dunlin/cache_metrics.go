package main

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dunlin-project/dunlin/internal/measure"
)

// registry has all metrics of a cache node.
func (p *cacheParts) registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(p.node.Metrics()...)
	r.MustRegister(p.gate.Metrics()...)
	r.MustRegister(p.swarm.Metrics()...)
	return r
}

// serveMetrics takes the address for metrics and returns what serves them until its context ends. An address that nobody has
// asked for and that is taken, by another node of this machine, is no reason not to run.
func (p *cacheParts) serveMetrics(ctx context.Context, opt cacheOptions, log *slog.Logger) (func(context.Context) error, error) {
	wait := func(ctx context.Context) error { <-ctx.Done(); return nil }
	if opt.metrics == "" {
		return wait, nil
	}
	l, err := measure.Listen(ctx, opt.metrics)
	switch {
	case err == nil:
		return func(ctx context.Context) error { return measure.Serve(ctx, l, p.registry()) }, nil
	case opt.insist:
		return nil, err
	}
	log.Warn("there are no metrics, name another address with --metrics", slog.Any("err", err))
	return wait, nil
}
