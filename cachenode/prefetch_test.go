package cachenode

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/internal/window"
	"github.com/dunlin-project/dunlin/piecehash"
)

// windowFrom is a window that opens after a while and stays open for another, in whole minutes.
func windowFrom(t *testing.T, opens, lasts time.Duration) window.Daily {
	t.Helper()
	from := time.Now().Add(opens)
	d, err := window.Parse(from.Format("15:04") + "-" + from.Add(lasts).Format("15:04"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// have returns how much of the content is in the store.
func (w *world) have() int64 {
	w.t.Helper()
	c, err := w.node.take(w.m.Root())
	if err != nil {
		w.t.Fatal(err)
	}
	defer w.node.release(c)
	c.mu.Lock()
	defer c.mu.Unlock()
	var n int64
	for i := range w.m.Pieces() {
		if c.src != nil && c.src.Has(i) {
			n += w.m.PieceSize(i)
		}
	}
	return n
}

// TestPrefetchRate: what nobody has asked for keeps to its rate, and from the moment that somebody does there is none.
func TestPrefetchRate(t *testing.T) {
	t.Parallel()
	for name, asks := range map[string]bool{"nobody asks": false, "somebody asks": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 16<<20)
				w.line(16 << 20) // 1 s
				began := time.Now()
				w.run(func(c *Config) { c.Prefetch = Prefetch{On: true, Rate: 1 << 20} })
				time.Sleep(4 * time.Second)
				if got := w.have(); got < 2<<20 || got > 6<<20 {
					t.Errorf("%d bytes after 4 s at 1 MiB/s", got)
				}
				if asks {
					wants(t, "reader", w.ask(http.MethodGet, w.m.Root()), http.StatusOK, w.data)
				}
				for len(w.told(Stored)) == 0 {
					time.Sleep(100 * time.Millisecond)
				}
				took, e := time.Since(began), w.told(Stored)[0]
				if asks && took > 8*time.Second || !asks && took < 14*time.Second || e.Ahead == asks || !w.told(Fetching)[0].Ahead {
					t.Errorf("stored after %v: %+v", took, e)
				}
				w.stop()
			})
		})
	}
}

// TestPrefetchWindow: nothing is fetched ahead before the window opens nor after it closes, and what has come by then is kept;
// but who asks is served at any time.
func TestPrefetchWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 4<<20)
		w.line(16 << 20)
		w.run(func(c *Config) {
			c.Prefetch = Prefetch{On: true, Rate: 16 << 10, Window: windowFrom(t, time.Hour, 2*time.Minute)} // of 256 s
		})
		time.Sleep(59 * time.Minute)
		if n := w.drawn.Load(); n != 0 {
			t.Errorf("%d requests before the window", n)
		}
		time.Sleep(2 * time.Minute)
		half := w.have()
		if half == 0 || half == w.m.Length() {
			t.Errorf("%d bytes in the window", half)
		}
		time.Sleep(8 * time.Minute)
		drawn := w.drawn.Load()
		time.Sleep(time.Hour)
		if w.drawn.Load() != drawn || len(w.told(Stored)) > 0 {
			t.Errorf("it goes on after the window: %d requests, then %d", drawn, w.drawn.Load())
		}
		if len(w.told(Failed)) > 0 {
			t.Errorf("the end of the window is a failure: %+v", w.told(Failed))
		}
		wants(t, "reader", w.ask(http.MethodGet, w.m.Root()), http.StatusOK, w.data)
		for len(w.told(Stored)) == 0 {
			time.Sleep(100 * time.Millisecond)
		}
		if e := w.told(Stored)[0]; e.Resumed < half || e.Resumed == w.m.Length() || e.Ahead {
			t.Errorf("%+v, %d bytes were there", e, half)
		}
		w.stop()
	})
}

// TestAskedGoesFirst: content that is asked for has the line nearly to itself although another is being fetched ahead, which then
// goes on.
func TestAskedGoesFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const rate, size = 1 << 20, 8 << 20
		w := newWorld(t, 64<<20)
		line := fetchtest.NewPipe(rate)
		w.origin = &fetchtest.WebServer{M: w.m, Data: w.data, Line: line}
		data, m := fetchtest.Content(99, size, pieceLength)
		w.others = map[piecehash.Root]fetch.Origin{m.Root(): &fetchtest.WebServer{M: m, Data: data, Line: line}}
		w.run(func(c *Config) {
			c.Prefetch.On = true
			c.Catalogue = Union{One{&Item{Manifest: w.m}}, quietly{One{&Item{Manifest: m}}}}
		})
		time.Sleep(5 * time.Second)
		before, began := w.have(), time.Now()
		if before < 3*rate {
			t.Errorf("%d bytes were fetched ahead in 5 s", before)
		}
		wants(t, "reader", w.ask(http.MethodGet, m.Root()), http.StatusOK, data)
		took, alone := time.Since(began), time.Duration(size/rate)*time.Second
		if took > alone*3/2 {
			t.Errorf("it took %v, alone it would be %v", took, alone)
		}
		during := w.have() - before
		time.Sleep(10 * time.Second)
		if after := w.have() - before - during; after < 5*rate || during == 0 {
			t.Errorf("of the other came %d bytes meanwhile, and %d in 10 s after it", during, after)
		}
		w.stop()
	})
}

// quietly is a catalogue of what is not fetched ahead.
type quietly struct{ One }

func (quietly) Refresh(context.Context) []piecehash.Root { return nil }

// TestPrefetchInOrder: one after the other, as the catalogue wants it; what fails waits, and the others do not.
func TestPrefetchInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20)
		line := fetchtest.NewPipe(1 << 20)
		w.others = make(map[piecehash.Root]fetch.Origin)
		known := Union{One{&Item{Manifest: w.m, Name: "nowhere"}}} // w has no origin
		for i, name := range []string{"first", "second", "third"} {
			data, m := fetchtest.Content(uint64(100+i), 2<<20, pieceLength)
			w.others[m.Root()] = &fetchtest.WebServer{M: m, Data: data, Line: line}
			known = append(known, One{&Item{Manifest: m, Name: name}})
		}
		w.run(func(c *Config) { c.Catalogue, c.Prefetch.On = known, true })
		for len(w.told(Stored)) < 3 {
			time.Sleep(time.Second)
		}
		for i, name := range []string{"first", "second", "third"} {
			if got := w.told(Stored)[i]; got.Name != name || !got.Ahead {
				t.Errorf("place %d: %+v", i, got)
			}
		}
		if f := w.told(Failed); len(f) == 0 || f[0].Name != "nowhere" {
			t.Errorf("%+v", f)
		}
		w.stop()
	})
}

// TestUnion: what one refuses is refused, whoever knows it; what several know can be had wherever one of them says.
func TestUnion(t *testing.T) {
	t.Parallel()
	_, a := fetchtest.Content(1, 100_000, pieceLength)
	_, b := fetchtest.Content(2, 100_000, pieceLength)
	_, c := fetchtest.Content(3, 100_000, pieceLength)
	organisation := catalogue{
		a.Root(): &Item{Manifest: a, Name: "acme/app@1", Origins: []string{"http://cdn"}, Hints: []string{"http://publisher"}},
		b.Root(): fault.New(fault.Refused, "no"), c.Root(): fault.New(fault.Unavailable, "not yet"),
	}
	folder := catalogue{
		a.Root(): &Item{Manifest: a, Name: "app.bin", Origins: []string{"http://here"}},
		b.Root(): &Item{Manifest: b}, c.Root(): &Item{Manifest: c},
	}
	for _, u := range []Union{{organisation, folder}, {folder, organisation}} {
		item, err := u.Find(a.Root())
		if err != nil || len(item.Origins) != 2 || len(item.Hints) != 1 {
			t.Errorf("%+v %v", item, err)
		}
		if _, err := u.Find(b.Root()); !fault.Is(err, fault.Refused) {
			t.Errorf("refused by one: %v", err)
		}
		if item, err := u.Find(c.Root()); err != nil || item == nil {
			t.Errorf("one is not ready: %v", err)
		}
		if got := u.Refresh(t.Context()); len(got) != 3 {
			t.Errorf("%d contents", len(got))
		}
	}
	if _, err := (Union{catalogue{c.Root(): fault.New(fault.Unavailable, "not yet")}}).Find(c.Root()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("nobody is ready: %v", err)
	}
	if _, err := (Union{}).Find(a.Root()); !errors.Is(err, ErrUnknown) {
		t.Errorf("of nothing: %v", err)
	}
}

// news is a catalogue that wants nothing before a moment.
type news struct {
	Catalogue
	from time.Time
}

func (c news) Refresh(ctx context.Context) []piecehash.Root {
	if time.Now().Before(c.from) {
		return nil
	}
	return c.Catalogue.Refresh(ctx)
}

// TestPrefetchLooksAgain: what a catalogue has come to want is fetched at the next look, which comes as often as is said.
func TestPrefetchLooksAgain(t *testing.T) {
	t.Parallel()
	for refresh, want := range map[time.Duration]time.Duration{0: refreshEvery, 2 * time.Second: 4 * time.Second} {
		t.Run(refresh.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1<<20)
				began := time.Now()
				w.run(func(c *Config) {
					c.Prefetch, c.Refresh = Prefetch{On: true}, refresh
					c.Catalogue = news{c.Catalogue, began.Add(3 * time.Second)}
				})
				for len(w.told(Fetching)) == 0 && time.Since(began) < time.Minute {
					time.Sleep(10 * time.Millisecond)
				}
				if took := time.Since(began); took < want || took > want+time.Second {
					t.Errorf("begins after %v, want %v", took, want)
				}
				w.stop()
			})
		})
	}
}
