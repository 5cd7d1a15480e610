package cachenode

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// lanSwarm makes the node a member of a LAN in memory. It shares what it holds.
type lanSwarm struct {
	t   *testing.T
	lan *fetchtest.LAN
	m   *piecehash.Manifest

	alone bool

	mu    sync.Mutex
	inUse bool // guarded by mu
	joins int  // guarded by mu
	last  Holding
}

func (s *lanSwarm) ID() fetch.PeerID { return "node" }
func (s *lanSwarm) Alone() bool      { return s.alone }

func (s *lanSwarm) Join(h Holding) (Room, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inUse {
		return nil, errors.New("joined twice")
	}
	s.inUse, s.last = true, h
	s.joins++
	return &lanRoom{s, s.lan.Join("node", fetchtest.NewPart(s.m), nil)}, nil
}

func (s *lanSwarm) state() (inUse bool, joins int, have piecehash.Bitmap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil {
		have = s.last.Bitmap()
	}
	return s.inUse, s.joins, have
}

type lanRoom struct {
	s *lanSwarm
	*fetchtest.Device
}

func (r *lanRoom) Close() error {
	r.Leave()
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.s.inUse = false
	return nil
}

// TestDevicesHaveIt: what devices have is taken from them, not from the origin; and then the node shares it itself.
func TestDevicesHaveIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2<<20)
		w.line(1 << 20)
		lan := &fetchtest.LAN{Delay: time.Millisecond}
		device := lan.Join("device", fetchtest.FullPart(w.m, w.data), nil)
		defer device.Leave()
		s := &lanSwarm{t: t, lan: lan, m: w.m}
		w.run(func(c *Config) { c.Swarm = s })
		wants(t, "GET", w.ask("GET", w.m.Root()), 200, w.data)
		synctest.Wait()
		e := w.told(Stored)
		if len(e) != 1 || e[0].From.Peers != w.m.Length() || e[0].From.Origin != 0 {
			t.Errorf("told %+v", e)
		}
		if inUse, _, have := s.state(); !inUse || !have.Full() {
			t.Errorf("shared %v, %d pieces", inUse, have.Count())
		}
		w.stop()
		if inUse, _, _ := s.state(); inUse {
			t.Error("it is shared after the end")
		}
	})
}

// TestStoredIsShared from the start, and while nobody asks by HTTP.
func TestStoredIsShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2<<20)
		w.fill()
		s := &lanSwarm{t: t, lan: &fetchtest.LAN{}, m: w.m}
		w.run(func(c *Config) { c.Swarm = s })
		synctest.Wait()
		if inUse, joins, have := s.state(); !inUse || joins != 1 || !have.Full() {
			t.Errorf("shared %v, joined %d times, %d pieces", inUse, joins, have.Count())
		}
		w.stop()
	})
}

// changing is a catalogue whose word on one content can change.
type changing struct {
	catalogue
	refused *atomic.Bool
}

func (c changing) Find(root piecehash.Root) (*Item, error) {
	if c.refused.Load() {
		return nil, fault.New(fault.Refused, "no peering")
	}
	return c.catalogue.Find(root)
}

// TestForbiddenLater: content that may not be given away any more is taken from the devices, and refused by HTTP at once; it is
// shared again when it may be.
func TestForbiddenLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20)
		w.fill()
		s := &lanSwarm{t: t, lan: &fetchtest.LAN{}, m: w.m}
		var refused atomic.Bool
		w.run(func(c *Config) { c.Swarm, c.Catalogue = s, changing{c.Catalogue.(catalogue), &refused} })
		wants(t, "before", w.ask("GET", w.m.Root()), 200, w.data)
		refused.Store(true)
		resp := w.ask("GET", w.m.Root())
		if resp.Body.Close(); resp.StatusCode != 403 {
			t.Errorf("status %d", resp.StatusCode)
		}
		time.Sleep(2 * refreshEvery)
		if inUse, _, _ := s.state(); inUse {
			t.Error("it is still shared with devices")
		}
		refused.Store(false)
		time.Sleep(2 * refreshEvery)
		if inUse, joins, _ := s.state(); !inUse || joins != 2 {
			t.Errorf("allowed again, it is not shared again: %v, joined %d times", inUse, joins)
		}
		w.stop()
	})
}

// TestAloneNobodyIsWaitedFor: where no device is connected the origin is asked at once. Else devices get a moment to say what
// they have.
func TestAloneNobodyIsWaitedFor(t *testing.T) {
	t.Parallel()
	const moment = 150 * time.Millisecond
	for _, alone := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 1<<20)
			w.line(1 << 30)
			s := &lanSwarm{t: t, lan: &fetchtest.LAN{}, m: w.m, alone: alone}
			w.run(func(c *Config) { c.Swarm = s })
			start := time.Now()
			wants(t, "cold", w.ask("GET", w.m.Root()), 200, w.data)
			if took := time.Since(start); alone && took >= moment || !alone && took < moment {
				t.Errorf("alone %v: it took %v", alone, took)
			}
			w.stop()
		})
	}
}
