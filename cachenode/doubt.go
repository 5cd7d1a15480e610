package cachenode

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store/scrub"
)

// Bounds of complaints. Each costs the reading and hashing of one piece, whoever complains.
const (
	complainPath  = "/complain/"
	complainEvery = 2 * time.Second
	complainBurst = 4
)

// complaint is a piece that somebody got and that was not right.
type complaint struct {
	root  piecehash.Root
	piece int
}

// complaints are those that wait to be looked into.
type complaints struct {
	limit *rate.Limiter
	queue chan complaint
}

func newComplaints() complaints {
	return complaints{rate.NewLimiter(rate.Every(complainEvery), complainBurst), make(chan complaint, complainBurst)}
}

// complain takes POST /complain/ROOT?piece=N from whoever got that piece from here and found it wrong. It is believed so far
// that the piece is read and hashed once more: nobody can have good content dropped.
func (n *Node) complain(w http.ResponseWriter, r *http.Request) {
	root, err := piecehash.ParseRoot(strings.TrimPrefix(r.URL.EscapedPath(), complainPath))
	piece, bad := strconv.Atoi(r.URL.Query().Get("piece"))
	switch {
	case err != nil || bad != nil || piece < 0 || piece >= piecehash.MaxPieces || r.ContentLength != 0:
		refuse(w, r, http.StatusBadRequest, "A complaint is POST "+complainPath+"ROOT?piece=N, without a body.")
	case !n.cfg.Store.Has(root):
		refuse(w, r, http.StatusNotFound, "This content is not stored here.")
	case !n.complaints.limit.Allow():
		w.Header().Set("Retry-After", strconv.Itoa(int(complainEvery/time.Second)))
		refuse(w, r, http.StatusTooManyRequests, "There are too many complaints. Get this content elsewhere for now.")
	default:
		n.doubt(root, piece) // from the answer on nobody gets it unhashed
		select {
		case n.complaints.queue <- complaint{root, piece}:
		default: // as many are waiting: one more would find nothing else
		}
		w.WriteHeader(http.StatusAccepted)
	}
}

// look looks into complaints until ctx ends.
func (n *Node) look(ctx context.Context) {
	for {
		select {
		case c := <-n.complaints.queue:
			n.log.Info("somebody complains of a piece", slog.Any("root", c.root), slog.Int("piece", c.piece))
			n.mend(ctx, c.root, c.piece)
		case <-ctx.Done():
			return
		}
	}
}

// doubt has a stored piece hashed again before it leaves once more.
func (n *Node) doubt(root piecehash.Root, piece int) {
	if c, err := n.take(root); err == nil {
		c.suspect(piece)
		n.release(c)
	}
}

// suspect has a piece hashed again before it leaves once more, and returns the file that it is in; nil if it is in none.
func (c *content) suspect(piece int) (src source, number int) {
	c.mu.Lock()
	src, number = c.src, c.number
	c.mu.Unlock()
	if src == nil || piece >= c.item.Manifest.Pieces() {
		return nil, 0
	}
	src.Doubt(piece)
	c.doubt(number, piece)
	return src, number
}

// mend has a stored piece hashed again, and fetched again when it is damaged: at once where the catalogue knows from where,
// else when somebody asks for it.
func (n *Node) mend(ctx context.Context, root piecehash.Root, piece int) {
	c, err := n.take(root)
	if err != nil {
		return
	}
	defer n.release(c)
	src, number := c.suspect(piece)
	if src == nil {
		return
	}
	if err := c.check(ctx, src, number, piece); err != nil {
		return
	}
	if _, err := n.cfg.Catalogue.Find(root); err == nil && !src.Has(piece) {
		c.mu.Lock()
		defer c.mu.Unlock()
		_ = c.begin(newFill()) // or whoever asks next has it fetched
	}
}

// working reports whether somebody reads, or something is fetched.
func (n *Node) working() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.open {
		if c.users > 0 || c.filling() {
			return true
		}
	}
	return false
}

// ScrubStatus returns how far the scrubbing is; the zero value when it is off.
func (n *Node) ScrubStatus() scrub.Status {
	if n.scrubber == nil {
		return scrub.Status{}
	}
	return n.scrubber.Status()
}
