package httpfallback

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// Answer is what a server says of a URL without sending what is there.
type Answer struct {
	Status int           // of HTTP
	Length int64         // bytes of what is there, -1 where the server does not say
	Again  time.Duration // how long it wants to be left alone, 1 s to 1 min; 0 where it does not say
}

// Head asks what is at a URL. It waits for no slot, follows no redirect and counts nothing, because no content comes. The URL
// counts as written down by somebody we trust (see OriginConfig.URLs). An error means that nobody has answered.
func (g *Gate) Head(ctx context.Context, rawURL string) (Answer, error) {
	return g.bodiless(ctx, http.MethodHead, rawURL)
}

// Post tells a URL something, without a body. Otherwise it is as Head.
func (g *Gate) Post(ctx context.Context, rawURL string) (Answer, error) {
	return g.bodiless(ctx, http.MethodPost, rawURL)
}

func (g *Gate) bodiless(ctx context.Context, method, rawURL string) (Answer, error) {
	u, err := parseURL(rawURL)
	if err != nil {
		return Answer{}, fault.Wrap(fault.Usage, err)
	}
	resp, _, err := g.once(ctx, method, target{u, g.ways.configured}, "")
	if err != nil {
		return Answer{}, asFault(fmt.Errorf("ask %s: %w", label(u), err))
	}
	resp.Body.Close()
	return Answer{resp.StatusCode, resp.ContentLength, parseRetryAfter(resp.Header.Get("Retry-After"), time.Now())}, nil
}
