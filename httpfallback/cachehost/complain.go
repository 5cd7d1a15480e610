package cachehost

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/piecehash"
)

// complainTimeout is how long telling a node about a wrong piece may take, all its addresses and their names included.
const complainTimeout = 2 * time.Second

// complain tells a node that a piece of its was wrong, which is how it learns that its disk has lost it. One that lies on purpose
// learns nothing new. It reports whether the node has taken it.
func (h *Hosts) complain(ctx context.Context, base string, root piecehash.Root, piece int) bool {
	ctx, cancel := context.WithTimeout(ctx, complainTimeout)
	defer cancel()
	url := strings.TrimSuffix(base, "/") + "/complain/" + root.String() + "?piece=" + strconv.Itoa(piece)
	a, err := h.gate.Post(ctx, url)
	if err != nil || a.Status != http.StatusAccepted {
		h.log.DebugContext(ctx, "a caching node does not hear a complaint", slog.String("host", base), slog.Int("status", a.Status), slog.Any("err", err))
		return false
	}
	return true
}

// Wronged implements fetch.Via. The member is told in the background at the address of its HTTP face, if that is known; until then
// no node is asked by HTTP, lest it gives the same piece once more. Where several nodes may be meant, all are told: it costs each
// the reading of one piece.
func (v *Via) Wronged(by fetch.Joined, piece int) {
	done := make(chan struct{})
	if !v.hosts.inBackground(func() { defer close(done); v.hosts.tell(by, v.content.Root(), piece) }) {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.told = append(slices.DeleteFunc(v.told, isClosed), done)
}

// inBackground begins what Close waits for, unless it has been called.
func (h *Hosts) inBackground(f func()) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.wg.Go(f)
	}
	return !h.closed
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// awaitTold waits until the members that sent a wrong piece have heard of it, complainTimeout at most.
func (v *Via) awaitTold(ctx context.Context) {
	v.mu.Lock()
	told := slices.Clone(v.told)
	v.mu.Unlock()
	for _, c := range told {
		select {
		case <-c:
		case <-ctx.Done():
			return
		}
	}
}

// tell finds out at which addresses the HTTP face of a member may be, and complains there.
func (h *Hosts) tell(m fetch.Joined, root piecehash.Root, piece int) {
	ctx, cancel := context.WithTimeout(h.ctx, complainTimeout)
	defer cancel()
	for _, bases := range h.facesOf(ctx, m) {
		for _, base := range bases { // of one node: the first that hears will do
			if h.complain(ctx, base, root, piece) {
				h.log.InfoContext(ctx, "caching node told of a wrong piece that it sent over its link", slog.String("host", base),
					slog.String("peer", string(m.ID)), slog.Int("piece", piece))
				break
			}
		}
	}
}

// facesOf returns the base URLs of the nodes that a member may be: of the one that announces itself under its id, and of those
// that the settings or the organisation name at the address of its link.
func (h *Hosts) facesOf(ctx context.Context, m fetch.Joined) (out [][]string) {
	h.mu.Lock()
	var named []string
	for _, o := range h.all(time.Now()) {
		switch {
		case o.tier != fromLAN:
			named = append(named, o.bases...)
		case o.name == string(m.ID):
			out = append(out, slices.Clone(o.bases))
		}
	}
	h.mu.Unlock()
	for _, base := range named {
		if isAt(ctx, base, m.Addr) {
			out = append(out, []string{base})
		}
	}
	return out
}

// isAt reports whether the host of a URL has an address.
func isAt(ctx context.Context, base string, addr netip.Addr) bool {
	u, err := url.Parse(base)
	if err != nil || !addr.IsValid() {
		return false
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil {
		return plain(a) == plain(addr)
	}
	found, _ := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	return slices.ContainsFunc(found, func(a netip.Addr) bool { return plain(a) == plain(addr) })
}

func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }
