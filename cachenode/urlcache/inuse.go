package urlcache

import (
	"log/slog"
	"net/url"
)

// release ends the use of a view.
func (c *Cache) release(g *generation) {
	c.mu.Lock()
	g.users--
	c.mu.Unlock()
	c.closeDone(g)
}

// closeDone closes the files of a generation that is not served any more.
func (c *Cache) closeDone(g *generation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g.retired && g.users == 0 && !g.closed && !g.isBusy() {
		g.closed = true
		g.close()
	}
}

// isIdle reports whether nobody uses the entry. c.mu is held.
func (e *entry) isIdle() bool {
	return e.users == 0 && (e.gen == nil || e.gen.users == 0 && !e.gen.isBusy())
}

// closeIdle closes what was used longest ago, while more than so many generations are open.
func (c *Cache) closeIdle(most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.opened) > most {
		var oldest *entry
		for e := range c.opened {
			if e.isIdle() && (oldest == nil || e.used < oldest.used) {
				oldest = e
			}
		}
		if oldest == nil {
			return
		}
		c.closeEntry(oldest)
	}
}

// closeEntry closes the files of an idle entry. c.mu is held.
func (c *Cache) closeEntry(e *entry) {
	if e.gen != nil {
		e.gen.closed = true
		e.gen.close()
		e.gen = nil
	}
	delete(c.opened, e)
}

// changed takes a generation out of use: the origin has another file now, or none. Who is being answered with it goes on
// as far as its slices are there.
func (c *Cache) changed(g *generation) {
	e := g.e
	c.mu.Lock()
	if g.retired {
		c.mu.Unlock()
		return
	}
	g.retired = true
	c.bytes -= e.bytes
	e.bytes = 0
	if e.gen == g {
		e.gen, e.id = nil, ""
		delete(c.opened, e)
	}
	c.mu.Unlock()
	g.finish(errChanged)
	c.removed(g.files.remove())
	c.log.Info("the file at an origin has changed; what was kept of it is deleted", slog.String("url", label(e.url)))
	c.closeDone(g)
}

// opened returns the generation that is kept, and opens its files if need be. One that is damaged is deleted; the error is of a
// disk that cannot say whether it is.
func (e *entry) opened() (*generation, record, error) {
	c := e.c
	c.mu.Lock()
	g, rec, f := e.gen, e.rec, files{c.cfg.Dir, e.key, e.id}
	c.mu.Unlock()
	if g != nil || f.id == "" {
		return g, rec, nil
	}
	rec, data, sums, err := f.open(e.url, c.slice)
	if err == nil {
		g = c.newGeneration(e, rec, data, sums)
		if err = g.load(); err != nil {
			g.close()
		}
	}
	if isBroken(err) {
		return nil, record{}, c.pause(err)
	}
	c.mu.Lock()
	c.bytes -= e.bytes
	if e.bytes = 0; err == nil {
		e.bytes = g.stored()
		e.gen, e.rec = g, rec
		c.opened[e] = struct{}{}
	} else {
		e.id = ""
	}
	c.bytes += e.bytes
	c.mu.Unlock()
	if err != nil {
		c.log.Warn("what was kept of a file is of no use and is deleted", slog.String("url", label(e.url)), slog.Any("err", err))
		c.removed(f.remove())
		return nil, record{}, nil
	}
	return g, rec, nil
}

// label is the URL as logs show it: a query may hold a signature.
func label(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return ""
	}
	u.RawQuery = ""
	return u.Redacted()
}
