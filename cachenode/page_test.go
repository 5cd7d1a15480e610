package cachenode

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-project/dunlin/internal/history"
	"github.com/dunlin-project/dunlin/internal/page"
)

// TestLook is what the page tells of a node: while it fetches for somebody, and after.
func TestLook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 8<<20)
		w.line(1 << 20)
		w.run(nil)
		done := make(chan struct{})
		go func() {
			defer close(done)
			wants(t, "reader", w.ask("GET", w.m.Root()), 200, w.data)
		}()
		time.Sleep(4 * time.Second)
		look, half := w.node.Look(), w.node.Counters().Total
		if len(look.Transfers) != 1 || look.Transfers[0].Name != "update.bin" || look.Transfers[0].Length != w.m.Length() ||
			look.Transfers[0].From.Origin == 0 || look.Transfers[0].Sources == nil {
			t.Errorf("half way: %+v", look.Transfers)
		}
		if len(look.Items) != 1 || look.Items[0].State != "being fetched" || look.Items[0].Title != "update.bin" {
			t.Errorf("half way: %+v", look.Items)
		}
		if half[history.FromOrigin] == 0 || half[history.FromOrigin] > w.m.Length() || half[history.Kept] > half[history.FromOrigin] {
			t.Errorf("half way: %v", half)
		}
		<-done
		synctest.Wait()
		look, all := w.node.Look(), w.node.Counters().Total
		if want := (history.Amounts{history.FromOrigin: w.m.Length(), history.Kept: w.m.Length(), history.ByHTTP: w.m.Length()}); all != want {
			t.Errorf("counted %v, want %v", all, want)
		}
		if look.Kind != page.Node || len(look.Transfers) != 0 || look.Items[0].State != "whole" {
			t.Errorf("after: %+v", look)
		}
		if d := look.Decisions; len(d) != 2 || d[0].Outcome != Stored || d[1].Outcome != "fetched now" {
			t.Errorf("decided %+v", d)
		}
		w.stop()
	})
}

// TestLookAhead: what is fetched before anybody asks is counted so.
func TestLookAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20)
		w.line(1 << 20)
		w.run(func(c *Config) { c.Prefetch = Prefetch{On: true} })
		time.Sleep(20 * time.Second)
		want := history.Amounts{history.FromOrigin: w.m.Length(), history.Kept: w.m.Length(), history.Ahead: w.m.Length()}
		if total := w.node.Counters().Total; total != want {
			t.Errorf("counted %v, want %v", total, want)
		}
		if d := w.node.Look().Decisions; len(d) != 2 || d[1].Outcome != "fetched ahead" {
			t.Errorf("decided %+v", d)
		}
		w.stop()
	})
}

// TestLookFailed: what could not be fetched is told, with the reason.
func TestLookFailed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20)
		w.run(nil)
		resp := w.ask("GET", w.m.Root())
		if resp.Body.Close(); resp.StatusCode != 503 {
			t.Errorf("status %d", resp.StatusCode)
		}
		l := w.node.Look()
		if len(l.Decisions) != 2 || !l.Decisions[0].Bad || l.Decisions[0].Why == "" {
			t.Errorf("decided %+v", l.Decisions)
		}
		if len(l.Items) != 1 || !l.Items[0].Bad || l.Items[0].Detail == "" {
			t.Errorf("%+v", l.Items)
		}
		w.stop()
	})
}

func TestDecisionsAreBounded(t *testing.T) {
	t.Parallel()
	var w watch
	for range 1000 {
		w.hear(time.Now(), Event{Event: Failed, Error: errors.ErrUnsupported.Error()})
	}
	if len(w.decided) != maxDecided {
		t.Errorf("%d are remembered", len(w.decided))
	}
}
