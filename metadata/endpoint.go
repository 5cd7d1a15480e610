package metadata

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/pinned"
	"github.com/dunlin-project/dunlin/metadata/tuf"
	"github.com/dunlin-project/dunlin/piecehash"
)

// endpoints are base URLs of one party that are tried in order, https with pins or folders.
type endpoints struct {
	bases []string
	ca    []byte
	pins  []Pin
	proxy func(*url.URL) (*url.URL, error)
}

func (e endpoints) check(what string) error {
	if len(e.bases) == 0 {
		return fault.New(fault.Usage, "configure %s: there is no URL", what)
	}
	if err := checkEndpoints(what, e.bases, string(e.ca), e.pins); err != nil {
		return fault.New(fault.Usage, "%w", err)
	}
	return nil
}

// open returns sources for what lies at path below each base; closeAll gives the connections back. Certificates are checked
// at one fixed time, see pinned.Config.Floor for the other.
func (e endpoints) open(now, floor time.Time) (sources func(path string) []tuf.Source, closeAll func(), err error) {
	client, closeAll := (*http.Client)(nil), func() {}
	if len(e.ca) > 0 {
		client, err = pinned.NewClient(pinned.Config{CA: e.ca, Pins: e.pins, Proxy: e.proxy, Now: func() time.Time { return now }, Floor: floor})
		if err != nil {
			return nil, nil, err
		}
		closeAll = client.CloseIdleConnections
	}
	return func(path string) []tuf.Source { return e.sources(path, client) }, closeAll, nil
}

func (e endpoints) sources(path string, client *http.Client) []tuf.Source {
	var out []tuf.Source
	for _, base := range e.bases {
		if u, err := url.Parse(base); err == nil && u.Scheme == "file" {
			out = append(out, tuf.Folder(strings.TrimSuffix(u.Path, "/")+path))
			continue
		}
		out = append(out, tuf.NewHTTP(strings.TrimSuffix(base, "/")+path, client))
	}
	return out
}

// fetchAny asks one source after the other for a file until check is content with it. The error is that of the worst
// kind.
func fetchAny(ctx context.Context, sources []tuf.Source, name string, limit int64, check func([]byte) error) error {
	var worst error
	for _, s := range sources {
		b, err := s.Fetch(ctx, name, limit)
		if err == nil {
			err = check(b)
		}
		if err == nil {
			return nil
		}
		worst = fault.WorstOf(worst, fmt.Errorf("get %s from %s: %w", name, s, err))
	}
	return worst
}

// fetchLayer gets the piece layer of content, and proves it. It may come from anybody.
func fetchLayer(ctx context.Context, sources []tuf.Source, c piecehash.Content) (*piecehash.Manifest, error) {
	if c.LayerSize() == 0 {
		return c.Prove(nil)
	}
	var m *piecehash.Manifest
	err := fetchAny(ctx, sources, "layer/"+c.Root().String(), c.LayerSize(), func(b []byte) (err error) {
		m, err = c.Prove(b)
		if errors.Is(err, piecehash.ErrLayerSize) {
			return fault.Wrap(fault.Unavailable, err)
		}
		return fault.Wrap(fault.Untrusted, err)
	})
	return m, err
}

func orDiscard(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}
