package cachehost

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/piecehash"
)

const (
	// answerWithin is how long a node may take to say whether it has a content, connection included: it says so without
	// fetching anything, so a live one of the site does within milliseconds.
	answerWithin = 2 * time.Second

	firstPause = 15 * time.Second // of a node that does not answer; doubles
	mostPause  = 10 * time.Minute
	banTime    = 24 * time.Hour  // of one that sent a wrong piece
	absentFor  = time.Minute     // content that a node does not have, or may not give: not asked for again
	laterFor   = 5 * time.Second // content that it cannot give now, where it does not say for how long
)

// health is how a node is.
type health struct {
	failures int       // looks in a row that nobody answered; 0: it is there, as far as is known
	until    time.Time // not looked at again before
	probing  bool      // somebody looks
}

// verdict is what a look at a node has shown.
type verdict struct {
	dead  bool          // nobody answers there
	has   bool          // it has the content, or would fetch it
	pause time.Duration // otherwise: how long it is not asked for this content
}

// look asks a node whether it has a content. Of those who want to know at the same time one asks, and the others take its word
// that nobody is there: a dead node costs all of them one timeout.
func (h *Hosts) look(ctx context.Context, o *host, c piecehash.Content) (verdict, error) {
	select {
	case o.turn <- struct{}{}:
		defer func() { <-o.turn }()
	case <-ctx.Done():
		return verdict{}, ctx.Err()
	}
	if h.isDead(o) {
		return verdict{dead: true}, nil
	}
	return h.ask(ctx, o, c.Root(), c.Length())
}

// probe looks whether a node is back, in nobody's way.
func (h *Hosts) probe(o *host, root piecehash.Root) {
	_, _ = h.ask(h.ctx, o, root, -1) // it has noted what it has seen
	h.mu.Lock()
	defer h.mu.Unlock()
	o.probing = false
}

// ask asks at one address of the node after the other, and notes what it has seen.
func (h *Hosts) ask(ctx context.Context, o *host, root piecehash.Root, length int64) (verdict, error) {
	h.mu.Lock()
	bases := slices.Clone(o.bases)
	h.mu.Unlock()
	var errs []error
	for _, base := range bases {
		inner, cancel := context.WithTimeout(ctx, answerWithin/time.Duration(len(bases)))
		a, err := h.head(inner, httpfallback.ContentURL(base, root))
		cancel()
		if err == nil {
			h.answered(o, base)
			return verdictOf(a, length), nil
		}
		if ctx.Err() != nil {
			return verdict{}, ctx.Err()
		}
		errs = append(errs, err)
	}
	h.silent(time.Now(), o, errors.Join(errs...))
	return verdict{dead: true}, nil
}

// verdictOf reads the answer to a look. A refusal is about this content alone.
func verdictOf(a httpfallback.Answer, length int64) verdict {
	switch {
	case a.Status == http.StatusOK && (a.Length < 0 || a.Length == length):
		return verdict{has: true}
	case a.Status/100 == 5 || a.Status == http.StatusTooManyRequests:
		return verdict{pause: max(a.Again, laterFor)}
	}
	return verdict{pause: absentFor}
}

// answered notes that a node is there, at which of its addresses.
func (h *Hosts) answered(o *host, base string) {
	h.mu.Lock()
	was := o.failures
	o.failures = 0
	if i := slices.Index(o.bases, base); i > 0 {
		o.bases[0], o.bases[i] = o.bases[i], o.bases[0]
	}
	h.mu.Unlock()
	if was > 0 {
		h.log.Info("caching node answers again", slog.String("host", base))
	}
}

// silent notes that nobody answers at any address of a node.
func (h *Hosts) silent(now time.Time, o *host, err error) {
	h.mu.Lock()
	pause := min(mostPause, firstPause<<min(o.failures, 10))
	pause += rand.N(pause / 4) // a site does not come back as one
	o.failures++
	o.until = now.Add(pause)
	first := o.failures == 1
	name := o.label()
	h.mu.Unlock()
	if first {
		h.log.Warn("caching node does not answer and is left alone", slog.String("host", name), slog.Duration("for", pause), slog.Any("err", err))
	}
}

// label is the node in logs. Hosts.mu is held.
func (o *host) label() string {
	if len(o.bases) == 0 {
		return o.name
	}
	return o.bases[0]
}

// hopeful returns the nodes that may yet deliver: those that answer, and those that may answer again.
func (h *Hosts) hopeful(now time.Time) []*host {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.DeleteFunc(h.all(now), func(o *host) bool { return h.isBanned(now, o) })
}

func (h *Hosts) isDead(o *host) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return o.failures > 0
}

// base returns where a node is asked now.
func (h *Hosts) base(o *host) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return o.label()
}

// ban leaves a node alone that sent a wrong piece. Who announces himself can take any name and any port, but no address that is
// not his: of announced ones the address is banned.
func (h *Hosts) ban(ctx context.Context, o *host, base string, err error) {
	h.mu.Lock()
	h.banned[banKey(o.tier, base)] = time.Now().Add(banTime)
	h.mu.Unlock()
	h.log.ErrorContext(ctx, "caching node dropped: it sent bytes that are not the content", slog.String("host", base),
		slog.Duration("for", banTime), slog.Any("err", err))
}

// isBanned takes the banned addresses from a node, and reports whether none is left. h.mu is held.
func (h *Hosts) isBanned(now time.Time, o *host) bool {
	bad := func(base string) bool { return now.Before(h.banned[banKey(o.tier, base)]) }
	if !slices.ContainsFunc(o.bases, bad) {
		return false
	}
	if slices.ContainsFunc(o.bases, func(b string) bool { return !bad(b) }) {
		o.bases = slices.DeleteFunc(o.bases, bad)
		return false
	}
	return true
}

func banKey(t tier, base string) string {
	if u, err := url.Parse(base); t == fromLAN && err == nil {
		return u.Hostname()
	}
	return base
}
