# make help lists what there is. Everything works with Go, make and a C compiler (for the race detector) alone;
# e2e and bench-site need root and the Debian packages that .ci/run installs.
SHELL   := /bin/bash
GO      ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
SOURCES := $(shell find . -name '*.go' -not -path './bin/*') go.mod go.sum

.PHONY: help build test check bench bench-site sim demo e2e fuzz clean
help:  ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: bin/dunlin  ## the static binary, bin/dunlin
bin/dunlin: $(SOURCES)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $@ ./cmd/dunlin

test:  ## all tests with the race detector, but those that need root and programs of others (make e2e)
	$(GO) test -race ./...

check:  ## format, vet, staticcheck
	@out=$$($(GO) tool gofumpt -l .); if [ -n "$$out" ]; then echo "not gofumpt-formatted:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

bench:  ## hashing, and a pair of processes on loopback; prints figures, judges nothing
	$(GO) test -run '^$$' -bench . -benchtime 2s ./piecehash ./store ./swarm/...

bench-site:  ## devices in namespaces behind a thin line, against curl, libtorrent, aria2 (root); FULL=1 sweeps, then disturbs
	DUNLIN_E2E=1 $(GO) test -count=1 -v -timeout $(if $(FULL),8h,60m) -run '^TestSite$(if $(FULL),|^TestDisturbances)' ./bench/site -args $(BENCH_SITE)

sim:  ## the decision over simulated sites, up to 10,000 devices; fails when an invariant breaks (SIM='-run slow -seeds 5')
	$(GO) run ./internal/sim/simulate $(SIM)

demo: build  ## one update from its publisher to three devices, as real processes
	bin/dunlin demo

e2e: build  ## several hosts in network namespaces, nginx, minisign, libtorrent, Prometheus, Chromium (root)
	DUNLIN_E2E=1 $(GO) test -count=1 -p 1 -timeout 20m ./e2e/...
	DUNLIN_E2E=1 $(GO) test -count=1 -timeout 5m -run TestALargeSite ./swarm

fuzz:  ## every fuzz target for ten seconds
	@set -e; for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime 10s -fuzzminimizetime 10x $$pkg >/dev/null; done; done

clean:
	rm -rf bin bench/out e2e/out

.PHONY: bench-disturb bench-short
bench-disturb:  ## the same site when devices die, lie, crawl or are kept apart (root); prints figures
	DUNLIN_E2E=1 $(GO) test -count=1 -v -timeout 60m -run TestDisturbances ./bench/site -args $(BENCH_SITE)

bench-short:  ## both, small, for what must hold on any machine (root)
	DUNLIN_E2E=1 $(GO) test -count=1 -v -short -timeout 5m ./bench/site

.PHONY: bench-pair bench-pair-short
bench-pair:  ## one seeder, one leecher on loopback, against libtorrent and curl (root); prints figures
	DUNLIN_E2E=1 $(GO) test -count=1 -v -timeout 30m ./bench/pair -args $(BENCH_PAIR)

bench-pair-short:  ## the same, small, for what must hold on any machine (root)
	DUNLIN_E2E=1 $(GO) test -count=1 -v -short -timeout 5m ./bench/pair

.PHONY: bench-cache bench-cache-short
bench-cache:  ## a cache node: hits against nginx, cold reads against curl, clients and agents around it (root); a table with verdicts
	DUNLIN_E2E=1 $(GO) test -count=1 -v -timeout 60m ./bench/cache -args $(BENCH_CACHE)

bench-cache-short:  ## the same, small, for what must hold on any machine (root)
	DUNLIN_E2E=1 $(GO) test -count=1 -v -short -timeout 5m ./bench/cache

.PHONY: dashboards
dashboards: build  ## every panel of deploy/grafana and every rule against a real Prometheus that watches the demo under load (root, prometheus)
	DUNLIN_E2E=1 DUNLIN_BIN=$(CURDIR)/bin/dunlin $(GO) test -count=1 -v -timeout 5m ./e2e/dashboards

.PHONY: screenshots
screenshots: build  ## the pages of a device and a node, by Chromium, into docs/screenshots (root)
	mkdir -p docs/screenshots
	DUNLIN_E2E=1 DUNLIN_BINARY=$(CURDIR)/bin/dunlin $(GO) test -count=1 -timeout 10m -run TestPages ./e2e/page -args -screenshots $(CURDIR)/docs/screenshots

.PHONY: bench-start
bench-start:  ## a cache node starts with 200,000 contents; prints seconds and memory (BENCH_START='-cold' as root, on a quiet machine)
	$(GO) test -run '^$$' -bench '^BenchmarkStart$$' -benchtime 3x -timeout 20m ./store -args -contents 200000 $(BENCH_START)
