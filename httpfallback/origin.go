package httpfallback

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// defaultPatience is how long one Fetch goes on, from mirror to mirror, without progress. It bridges the restart of a
// web server; what lasts longer is for the caller, who may have other sources.
const defaultPatience = 4 * time.Second

// OriginConfig says where one content can be had.
type OriginConfig struct {
	// Gate is the door; required.
	Gate *Gate
	// Content is what to get.
	Content piecehash.Content
	// URLs of the file, best first, that the user or the organisation wrote down. They may lead to private networks;
	// to this machine or a link-local address only where the URL says so itself. What is not an http or https URL is
	// left out with a warning.
	URLs []string
	// Hints are further URLs, tried after URLs, that somebody else named (a publisher's catalogue): they must lead to
	// public addresses.
	Hints []string
	// Patience is how long one Fetch goes on without progress; 0 is 4 s.
	Patience time.Duration
	// Log replaces the gate's log.
	Log *slog.Logger
}

// Origin is one content at its URLs. It implements fetch.Origin; its methods are safe for concurrent use.
type Origin struct {
	gate     *Gate
	content  piecehash.Content
	log      *slog.Logger
	patience time.Duration
	buffers  sync.Pool // of *[]byte, one piece each

	mu        sync.Mutex // guards what follows, and the mirrors' fields that say so
	mirrors   []*mirror  // the slice itself never changes
	delivered piecehash.Bitmap
}

var _ fetch.Origin = (*Origin)(nil)

// NewOrigin returns the origin of a content. It sends nothing. The error (unavailable) means that no URL is usable.
func NewOrigin(cfg OriginConfig) (*Origin, error) {
	o := &Origin{
		gate:      cfg.Gate,
		content:   cfg.Content,
		log:       cfg.Log,
		patience:  cfg.Patience,
		delivered: piecehash.NewBitmap(cfg.Content.Pieces()),
	}
	if o.log == nil {
		o.log = cfg.Gate.log
	}
	if o.patience <= 0 {
		o.patience = defaultPatience
	}
	o.buffers.New = func() any {
		b := make([]byte, min(cfg.Content.PieceLength(), cfg.Content.Length()))
		return &b
	}
	var bad []error
	add := func(urls []string, hinted bool) {
		for _, raw := range urls {
			if err := o.add(raw, hinted); err != nil {
				bad = append(bad, err)
				o.log.Warn("origin URL left out", "err", err)
			}
		}
	}
	add(cfg.URLs, false)
	add(cfg.Hints, true)
	if len(o.mirrors) == 0 {
		return nil, fault.New(fault.Unavailable, "origin of %v: no usable URL: %w", cfg.Content.Root(), errors.Join(bad...))
	}
	return o, nil
}

func (o *Origin) add(raw string, hinted bool) error {
	u, err := parseURL(raw)
	if err != nil {
		return err
	}
	way := o.gate.ways.configured
	if hinted {
		way = o.gate.ways.led[public]
	}
	for _, m := range o.mirrors {
		if m.home.url.String() == u.String() {
			return nil
		}
	}
	m := &mirror{home: target{u, way}, name: label(u), order: len(o.mirrors), turn: make(chan struct{}, 1)}
	m.at = m.home
	o.mirrors = append(o.mirrors, m)
	return nil
}

// Close lets go of a connection that may be kept for a server without ranges. The Origin must not be used after it.
func (o *Origin) Close() error {
	for _, m := range o.mirrors {
		m.turn <- struct{}{}
		m.park(nil)
		<-m.turn
	}
	return nil
}

// Free returns when the first of the mirrors may be asked again; a time that has passed when one may be asked now. It is never
// when all were dropped, and then ok is false.
func (o *Origin) Free() (at time.Time, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, m := range o.mirrors {
		if m.dropped == nil && (!ok || m.notBefore.Before(at)) {
			at, ok = m.notBefore, true
		}
	}
	return at, ok
}

// Fetch implements fetch.Origin. It asks one mirror for the range; when that fails it resumes, at the next byte from the
// same mirror or at the beginning of the piece from another, as long as something moves within its patience. Errors are
// the sink's unchanged; that of ctx; unavailable; untrusted when every mirror has sent a wrong piece; refused when the
// gate is closed. From a server that does not serve ranges it reads, and hands to the sink, also the pieces before
// first: that server can be had only from the beginning.
func (o *Origin) Fetch(ctx context.Context, first, count int, why fetch.Reason, sink fetch.Sink) error {
	if first < 0 || count < 1 || first+count > o.content.Pieces() {
		return fmt.Errorf("fetch pieces %d+%d of %d from the origin: no such range", first, count, o.content.Pieces())
	}
	r := o.begin(first, first+count, why, sink)
	defer r.finish()
	o.gate.metrics.begun(why)
	until := time.Now().Add(o.patience)
	for r.next < r.end {
		m, err := o.pick(ctx, until, r.from, r.fill)
		if err != nil {
			return err
		}
		r.changeTo(m)
		err = r.attempt(ctx, m)
		moved := r.moved()
		if done, err := o.after(ctx, m, err, moved); done {
			return err
		}
		if moved || o.isDropped(m) { // the next mirror gets the patience that is its due
			until = time.Now().Add(o.patience)
		}
	}
	return nil
}

// after draws the conclusions from an attempt: what it says about the mirror, and whether Fetch must end.
func (o *Origin) after(ctx context.Context, m *mirror, err error, moved bool) (done bool, _ error) {
	var refused *sinkError
	var failed *failure
	switch {
	case err == nil:
		o.praise(m)
	case errors.As(err, &refused) && errors.As(err, new(*piecehash.Mismatch)):
		o.drop(ctx, m, refused.err)
	case errors.As(err, &refused):
		return true, refused.err
	case ctx.Err() != nil:
		return true, ctx.Err()
	case errors.As(err, &failed):
		o.blame(ctx, m, failed, moved)
	default:
		return true, err
	}
	return false, nil
}
