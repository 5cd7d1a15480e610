package httpfallback

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// ContentURL is where an origin, a depot or a cache node with the given base URL has content.
func ContentURL(base string, root piecehash.Root) string {
	return strings.TrimRight(base, "/") + "/content/" + root.String()
}

// LayerURL is where it has the piece layer of the content.
func LayerURL(base string, root piecehash.Root) string {
	return strings.TrimRight(base, "/") + "/layer/" + root.String()
}

// Get fetches a small file whole: a metainfo file, a piece layer. More than limit bytes are refused. The URL counts as
// written down by somebody we trust (see OriginConfig.URLs). Errors are unavailable, or usage for a bad URL.
func (g *Gate) Get(ctx context.Context, rawURL string, limit int64) ([]byte, error) {
	u, err := parseURL(rawURL)
	if err != nil {
		return nil, fault.Wrap(fault.Usage, err)
	}
	return g.get(ctx, target{u, g.ways.configured}, limit)
}

// GetHinted is Get for a URL that somebody else named (see OriginConfig.Hints): it must lead, redirects included, to
// public addresses, unless its host and port are those of one of the base URLs in own, which somebody we trust wrote down.
// Errors are as those of Get, but a bad URL is unavailable: it is not the user's.
func (g *Gate) GetHinted(ctx context.Context, rawURL string, own []string, limit int64) ([]byte, error) {
	u, err := parseURL(rawURL)
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, err)
	}
	if isOwn(u, own) {
		return g.get(ctx, target{u, g.ways.configured}, limit)
	}
	// A proxy would hide the address from the dialer.
	if a, err := netip.ParseAddr(u.Hostname()); err == nil && g.ways.dialer.classify(a) != public {
		err = &ForbiddenError{u.Hostname(), a, g.ways.dialer.classify(a)}
		return nil, asFault(fmt.Errorf("get %s: %w", label(u), err))
	}
	return g.get(ctx, target{u, g.ways.led[public]}, limit)
}

func isOwn(u *url.URL, own []string) bool {
	return slices.ContainsFunc(own, func(raw string) bool {
		base, err := parseURL(raw)
		return err == nil && strings.EqualFold(hostPort(base), hostPort(u))
	})
}

func (g *Gate) get(ctx context.Context, t target, limit int64) ([]byte, error) {
	release, err := g.admit(ctx, g.slots)
	if err != nil {
		return nil, err
	}
	defer release()
	s := newStream(ctx)
	defer s.close()
	defer s.attach(ctx)()
	b, err := g.getSmall(s, t, limit)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		err = asFault(fmt.Errorf("get %s: %w", label(t.url), s.reason(err)))
		return nil, fault.WithHint(err, "%s", cmp.Or(fault.Hint(err), "check the URL, and that this device reaches "+t.url.Host))
	}
	return b, nil
}

func (g *Gate) getSmall(s *stream, t target, limit int64) ([]byte, error) {
	spent := func(n int) { g.metrics.metadata.Add(float64(n)) }
	s.watch.begin()
	resp, _, err := g.open(s.ctx, t, "", spent)
	if err != nil {
		return nil, err
	}
	switch c := resp.Header.Get("Content-Encoding"); {
	case resp.StatusCode != http.StatusOK:
		drain(resp, spent)
		return nil, &statusError{resp.StatusCode}
	case c != "" && c != "identity":
		drain(resp, spent)
		return nil, fmt.Errorf("the body is %.20q encoded, which nobody asked for", c)
	case resp.ContentLength > limit:
		resp.Body.Close()
		return nil, fmt.Errorf("%d bytes, more than the %d that such a file may have", resp.ContentLength, limit)
	}
	s.watch.renew()
	s.take(resp)
	b, err := io.ReadAll(io.LimitReader(readerFunc(s.read), limit+1))
	spent(len(b))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("more than the %d bytes that such a file may have", limit)
	}
	return b, err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// FetchLayer gets the piece layer of c from the first of the base URLs that has the right one, at BASE/layer/ROOT.
// Content of one piece has none and needs no request. The error is untrusted when a base sent a wrong layer and none a
// right one, else unavailable.
func FetchLayer(ctx context.Context, g *Gate, bases []string, c piecehash.Content) (*piecehash.Manifest, error) {
	if c.LayerSize() == 0 {
		return c.Prove(nil)
	}
	var errs []error
	kinds := []fault.Kind{fault.Unavailable}
	for _, base := range bases {
		b, err := g.Get(ctx, LayerURL(base, c.Root()), c.LayerSize())
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err == nil {
			m, proof := c.Prove(b)
			if proof == nil {
				return m, nil
			}
			err = fault.New(fault.Untrusted, "layer from %s: %w", base, proof)
			if errors.Is(proof, piecehash.ErrLayerSize) {
				err = fault.New(fault.Unavailable, "layer from %s: %w", base, proof)
			}
		}
		g.log.WarnContext(ctx, "piece layer not had", "source", base, "err", err)
		errs, kinds = append(errs, err), append(kinds, fault.Of(err))
	}
	return nil, fault.New(fault.Worst(kinds...), "fetch piece layer of %v: %w", c.Root(), errors.Join(errs...))
}
