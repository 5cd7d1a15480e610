package urlcache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/internal/life"
	"github.com/dunlin-project/dunlin/internal/publicweb"
)

// Limits of a cache.
const (
	// SliceSize is the grid of what is kept, in bytes.
	SliceSize = 1 << 20
	// MinSize is the least that a cache may be given, in bytes.
	MinSize = 64 << 20
	// MinStreams is the least that a cache may ask its origins at once.
	MinStreams = 2

	defaultStreams = 8
	maxOpen        = 256              // generations that are open and not in use
	maxFailures    = 1024             // URLs of which nothing is known but that asking has failed
	maxAskings     = 64               // files whose origins are asked at once, whether who wanted them still waits or not
	passes         = 4                // answers that are passed through, at once, and half of Config.Streams
	checkers       = 4                // slices that are in memory to be hashed, at once
	passFor        = 10 * time.Second // that a URL whose answers are not kept is passed through before it is looked at again
	retryAfter     = 5 * time.Second  // an origin that has failed is not asked again for a URL before
	pauseFor       = 10 * time.Second // nothing is kept after the disk has failed or was full
	believeFor     = 24 * time.Hour   // a slice that was hashed leaves without being hashed again
)

// Door sends requests to origins. httpfallback.Gate is the real one.
type Door interface {
	Ask(ctx context.Context, ask httpfallback.Ask) (*httpfallback.Reply, error)
}

// Config is what a Cache is made of.
type Config struct {
	Dir   string   // a folder of its own, made if missing; required
	Allow []Origin // the origins that may be asked; none: every request is refused
	Door  Door     // the way to them; required
	// Streams is how many requests the door lets out at once, MinStreams at least; 0 is 8. Half of them at most are for answers that
	// are passed through: those take as long as their clients like.
	Streams int
	// Size is how many bytes are kept at most, MinSize at least. What was used longest ago makes room.
	Size    int64
	Reserve int64        // bytes that stay free on the disk
	Log     *slog.Logger // nil: silent
}

// Cache keeps files that are known by their URL. New makes it, Run gives it life. It is safe for concurrent use.
type Cache struct {
	cfg   Config
	log   *slog.Logger
	slice int64  // bytes
	name  string // in Via: another node must not have the same
	allow list
	grid  grid
	// believe is believeFor, also a bound for how long what rots while the node runs can leave.
	believe time.Duration

	passing chan struct{}         // holds one token for each answer that is passed through
	buffers chan []byte           // for slices that are hashed
	paused  atomic.Int64          // until when nothing is kept, in Unix nanoseconds
	cause   atomic.Pointer[error] // of the newest pause
	lives   *life.Life

	mu      sync.Mutex // guards the rest, and the fields of entries and generations that say so
	entries map[key]*entry
	opened  map[*entry]struct{} // those whose generation is open
	askings int                 // entries whose origin is being asked, at most maxAskings
	bytes   int64               // kept
	clock   int64               // counts uses
	// failures are entries of which nothing is kept but how asking has failed, the oldest first.
	failures []*entry
}

// grid is how cold files are fetched.
type grid struct {
	first, most int   // slices of one request, at the begin and after some
	streams     int   // requests at once for one file, at most
	ahead       int64 // bytes before a reader
}

// New opens the folder and finds what an earlier run has left there. It reads names only, not what the files hold.
func New(cfg Config) (*Cache, error) {
	if cfg.Dir == "" || cfg.Door == nil {
		return nil, errors.New("urlcache: a folder and a door are needed")
	}
	if cfg.Size < MinSize {
		return nil, fault.New(fault.Usage, "urlcache: %d bytes are too few to keep files in; at least %d are needed", cfg.Size, MinSize)
	}
	if cfg.Streams == 0 {
		cfg.Streams = defaultStreams
	}
	if cfg.Streams < MinStreams {
		return nil, fault.New(fault.Usage, "urlcache: %d streams are too few; at least %d are needed", cfg.Streams, MinStreams)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := durable.MkdirPrivate(cfg.Dir); err != nil {
		return nil, err
	}
	c := &Cache{
		cfg: cfg, log: cfg.Log, slice: SliceSize, name: "dunlin-" + newGenerationID(), allow: cfg.Allow,
		grid: grid{first: 4, most: 16, streams: 4, ahead: 64 << 20}, believe: believeFor,
		passing: make(chan struct{}, min(passes, cfg.Streams/2)), buffers: make(chan []byte, checkers),
		lives: life.New(), entries: make(map[key]*entry), opened: make(map[*entry]struct{}),
	}
	for range checkers {
		c.buffers <- nil
	}
	return c, c.scan()
}

// Run lets the cache fetch until ctx ends, and returns when all that it fetches has ended. Before, and after, only what is
// kept is served.
func (c *Cache) Run(ctx context.Context) error {
	c.lives.Begin(ctx)
	<-ctx.Done()
	c.lives.End()
	c.closeIdle(0)
	return nil
}

// ServeHTTP is Serve for a server that counts nothing.
func (c *Cache) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.Serve(publicweb.NewWriter(w), r, new(bool))
}

// Serve answers GET and HEAD of /PATH?QUERY&cacheHostOrigin=HOST. It sets missed when some of the answer was not here. It
// never writes a word of the request back.
func (c *Cache) Serve(w *publicweb.Writer, r *http.Request, missed *bool) {
	a := &answer{c: c, w: w, r: r, missed: missed, stuck: -1}
	began := time.Now()
	a.serve()
	c.log.Debug("answered", slog.String("remote", r.RemoteAddr), slog.Int("status", a.w.Status()), slog.Int64("bytes", a.w.Bytes()),
		slog.Duration("took", time.Since(began)))
}

// admit refuses what is no business of a cache that others share.
func (c *Cache) admit(r *http.Request) (rawURL string, err error) {
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return "", &refusal{http.StatusMethodNotAllowed, "Only GET and HEAD are answered here."}
	case r.ContentLength != 0:
		return "", &refusal{http.StatusBadRequest, "A request here has no body."}
	case len(r.Header.Values("Authorization")) > 0 || len(r.Header.Values("Cookie")) > 0:
		return "", &refusal{http.StatusForbidden, "A cache that others share answers nobody in person. Send no Authorization and no Cookie, or ask the origin itself."}
	}
	if err := c.loops(r.Header); err != nil {
		return "", err
	}
	t, err := parseTarget(r.RequestURI)
	if err != nil {
		return "", err
	}
	o, ok := c.allow.find(t.host, t.port)
	if !ok {
		return "", &refusal{http.StatusForbidden, "This node does not serve that origin. Get the file from the origin itself, or have the node started with --allow-origin for it."}
	}
	return t.url(o.scheme), nil
}

const (
	maxHops = 8       // caches that a request may have come through
	maxVia  = 1 << 10 // bytes
)

// loops refuses a request that this node has sent itself, or that has come through too many (RFC 9110, section 7.6.3).
func (c *Cache) loops(h http.Header) error {
	via := strings.Join(h.Values("Via"), ",")
	if strings.Contains(via, c.name) || len(via) > maxVia || strings.Count(via, ",") >= maxHops {
		return &refusal{http.StatusLoopDetected, "This request goes round in a circle of caches. Take this node, or what leads to it, off the list of origins."}
	}
	return nil
}

// header is that of a request to an origin, on behalf of one with the given header. Nothing else of that one is sent on: not
// who asks, and nothing that the answer could depend on.
func (c *Cache) header(from http.Header) http.Header {
	h := make(http.Header)
	via := "1.1 " + c.name
	if before := strings.Join(from.Values("Via"), ", "); before != "" {
		via = before + ", " + via
	}
	h.Set("Via", via)
	return h
}

// ask sends a request to an origin.
func (c *Cache) ask(ctx context.Context, method, url string, h http.Header) (*httpfallback.Reply, error) {
	return c.cfg.Door.Ask(ctx, httpfallback.Ask{Method: method, URL: url, Header: h, Allow: c.allowURL})
}

func (c *Cache) allowURL(u *url.URL) error { return c.allow.allow(u) }

// scan notes what lies in the folder. What belongs to nothing is deleted.
func (c *Cache) scan() error {
	dirs, err := os.ReadDir(c.cfg.Dir)
	if err != nil {
		return fmt.Errorf("open cache of URLs: %w", fault.Wrap(fault.Unavailable, err))
	}
	for _, d := range dirs {
		if !d.IsDir() {
			continue
		}
		if err := c.scanDir(filepath.Join(c.cfg.Dir, d.Name())); err != nil {
			return fmt.Errorf("open cache of URLs: %w", fault.Wrap(fault.Unavailable, err))
		}
	}
	return nil
}

// found is what the names in a folder say of one generation.
type found struct {
	record time.Time // when it was written; zero when there is none
	sums   int64     // bytes of the list
	size   int64     // of the file
}

func (c *Cache) scanDir(dir string) error {
	names, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	all := make(map[files]*found)
	for _, e := range names {
		k, id, kind, ok := parseName(e.Name())
		info, err := e.Info()
		switch {
		case err != nil || !info.Mode().IsRegular():
			continue
		case !ok:
			if left, _ := filepath.Match(durable.TempPattern, e.Name()); left {
				_ = os.Remove(filepath.Join(dir, e.Name()))
			}
			continue
		}
		f := files{c.cfg.Dir, k, id}
		if all[f] == nil {
			all[f] = &found{}
		}
		switch kind {
		case kindRecord:
			all[f].record = info.ModTime()
		case kindSums:
			all[f].sums = info.Size()
		case kindBytes:
			all[f].size = info.Size()
		}
	}
	c.note(all)
	return nil
}

// note takes the newest generation of each URL into the table and deletes the others.
func (c *Cache) note(all map[files]*found) {
	newest := make(map[key]files)
	for f, is := range all {
		if old, ok := newest[f.key]; !is.record.IsZero() && (!ok || is.record.After(all[old].record)) {
			newest[f.key] = f
		}
	}
	for f, is := range all {
		if newest[f.key] != f {
			c.removed(f.remove())
			continue
		}
		e := &entry{c: c, key: f.key, id: f.id, used: is.record.UnixNano(), bytes: min(is.size, is.sums/sumSize*c.slice)}
		c.clock = max(c.clock, e.used)
		c.entries[f.key] = e
		c.bytes += e.bytes
	}
}

func (c *Cache) removed(err error) {
	if err != nil {
		c.log.Warn("what is not kept any more could not be deleted", slog.Any("err", err))
	}
}
