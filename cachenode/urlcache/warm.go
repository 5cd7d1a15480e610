package urlcache

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/internal/fault"
)

// warmRounds is how often a file may turn out to be another one while it is brought.
const warmRounds = 3

// Warmth is how far a file is that Warm brings.
type Warmth struct {
	Size int64 `json:"bytes"` // of the file, in bytes
	Have int64 `json:"have"`  // of them, those that are kept and have been hashed
	// Until is when the origin is asked again whether the file has changed. It may be past: then each request asks. Zero is
	// never.
	Until time.Time `json:"until,omitzero"`
}

// Warm returns when the file at a URL is kept, whole and every slice of it hashed. tell is told of each slice. Run must be
// called, before or soon after. What would be refused by HTTP is refused here, and so is what may not be kept; all else that
// goes wrong is unavailable, untrusted if the origin's answers do not fit together, or usage if the URL is none.
func (c *Cache) Warm(ctx context.Context, rawURL string, tell func(Warmth)) error {
	if err := c.lives.Await(ctx); err != nil {
		return err
	}
	u, err := c.permit(rawURL)
	if err != nil {
		return err
	}
	e := c.enter(u)
	defer c.leave(e)
	for range warmRounds {
		if err = e.warm(ctx, tell); !errors.Is(err, errChanged) {
			break
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return warmFault(u, err)
}

// permit returns the URL under which requests for a file find it, and refuses what they would be refused for.
func (c *Cache) permit(rawURL string) (string, error) {
	canonical, ok := Canonical(rawURL)
	u, err := url.Parse(canonical)
	if !ok || err != nil {
		return "", fault.New(fault.Usage, "keep %.100q: it is no URL of a file: want http or https, a host and no user", rawURL)
	}
	if err := c.allow.allow(u); err != nil {
		return "", err
	}
	sep := "?"
	if u.RawQuery != "" || u.ForceQuery {
		sep = "&"
	}
	t, err := parseTarget(u.RequestURI() + sep + param + "=" + url.QueryEscape(u.Host))
	if err != nil {
		return "", fault.New(fault.Usage, "keep %.100q: %w", label(canonical), err)
	}
	if o, _ := c.allow.find(t.host, t.port); o.scheme != u.Scheme {
		return "", fault.WithHint(fault.New(fault.Refused, "keep %.100q: who asks for it here gets the file of that path by %s", label(canonical), o.scheme),
			"name it with %s, or put the origin by %s before the other on the list", o.scheme, u.Scheme)
	}
	return canonical, nil
}

// warm brings what is missing of the newest version.
func (e *entry) warm(ctx context.Context, tell func(Warmth)) error {
	v, err := e.ready(ctx, wish{})
	if err != nil {
		return err
	}
	g := v.gen
	defer e.c.release(g)
	r := &reader{end: g.is.Size}
	g.join(r)
	defer g.part(r)
	v.joined()
	if v.stale {
		return fault.New(fault.Unavailable, "the origin does not answer, and what is kept of the file is old")
	}
	w := Warmth{Size: g.is.Size, Until: v.rec.Term.until()}
	for i := range g.sum {
		// The last byte of a slice may leave only when all of it is there with its sum, and hashed.
		if _, err := g.next(ctx, r, g.offset(i)+g.length(i)-1); err != nil {
			return err
		}
		w.Have += g.length(i)
		tell(w)
	}
	return nil
}

// warmFault gives the error of a file that could not be brought its kind.
func warmFault(u string, err error) error {
	name := label(u)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errNoRoom):
		return fault.WithHint(fault.New(fault.Unavailable, "keep %.100q: %w", name, err), "make room on the disk, or give such files more with --url-size; the log says what is wrong")
	case errors.Is(err, errPass):
		return fault.WithHint(fault.New(fault.Refused, "keep %.100q: %w", name, err), "nothing is to be done here: who asks for it gets it from the origin each time")
	case errors.As(err, new(*httpfallback.ForbiddenError)):
		return fault.WithHint(fault.New(fault.Refused, "keep %.100q: %w", name, err), "if that address is an origin of yours, allow the address itself with --allow-origin")
	}
	return fault.Wrap(fault.Unavailable, fmt.Errorf("keep %.100q: %w", name, err))
}

// until is when an answer is not fresh any more.
func (t term) until() time.Time {
	if t.Always {
		return t.Got
	}
	return t.Got.Add(t.Lifetime - t.Age)
}
