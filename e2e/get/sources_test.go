package get_test

import (
	"testing"

	"github.com/dunlin-project/dunlin/e2e/loop"
)

// TestSources: with -v the last picture of the sources accounts for every byte that the end speaks of.
func TestSources(t *testing.T) {
	t.Parallel()
	web, dir, other := t.TempDir(), t.TempDir(), t.TempDir()
	c := newContent(t, web, 24<<20, 0)
	n := programs.StartNginx(t, web, "512k")
	torrent := c.torrent(t, n.URL(""))
	first := get(t, torrent, "-o", other, "--seed", "1h")
	addr := first.addr()
	second := get(t, torrent, "-v", "-o", dir, "--peer", addr)
	d := second.done()
	c.isThere(t, dir)
	var last *loop.Event
	for i, e := range second.Seen {
		if e.Event == "sources" && e.Final {
			last = &second.Seen[i]
		}
	}
	if last == nil {
		t.Fatalf("no last picture: %+v", second.Seen)
	}
	var peers, origin int64
	for _, s := range last.Sources {
		peers += s.Bytes
	}
	for _, n := range last.Origin.By {
		origin += n
	}
	t.Logf("%+v, origin %+v", last.Sources, last.Origin)
	if peers+last.Others != d.From.Peers || origin != d.From.Origin || len(last.Sources) != 1 || last.Sources[0].ID == "" || last.Sources[0].Standing == "" {
		t.Errorf("%d bytes of members and %d of the origin, want %d and %d", peers, origin, d.From.Peers, d.From.Origin)
	}
}
