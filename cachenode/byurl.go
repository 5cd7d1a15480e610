package cachenode

import (
	"net/http"

	"github.com/dunlin-project/dunlin/cachenode/urlcache"
	"github.com/dunlin-project/dunlin/internal/publicweb"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store/room"
)

// byOrigin is a Catalogue that knows content also by the URLs of its origins. Folder is one.
type byOrigin interface {
	// FindOrigin returns the content at a URL, which is in the form of urlcache.Canonical.
	FindOrigin(url string) (piecehash.Root, bool)
}

// serveURL answers a request that names an origin. Content of the catalogue is served verified, as by its root; what is known
// by its URL alone, as the origin has it.
func (n *Node) serveURL(w *publicweb.Writer, r *http.Request, s *seen) {
	if known, ok := n.cfg.Catalogue.(byOrigin); ok {
		for _, url := range urlcache.Meant(r) {
			if root, ok := known.FindOrigin(url); ok {
				n.serveRoot(w, r, s, root, false)
				return
			}
		}
	}
	if n.cfg.URLs == nil {
		refuse(w, r, http.StatusForbidden, "This node serves no files by their URL. Get the file from its origin, or have the node started with --allow-origin.")
		return
	}
	var missed bool
	defer func() { // also when the answer is broken off
		n.sent.Add(w.Bytes())
		if status := w.Status(); status != http.StatusOK && status != http.StatusPartialContent {
			return
		}
		if s.missed = missed; missed {
			s.missing = 0
		}
		s.sent(0, w.Bytes(), w.Bytes())
	}()
	n.cfg.URLs.Serve(w, r, &missed)
}

// urlTrouble is what keeps files that are known by their URL from being kept.
func (n *Node) urlTrouble() room.Trouble {
	if n.cfg.URLs == nil {
		return room.Fine
	}
	return room.TroubleOf(n.cfg.URLs.Trouble())
}
