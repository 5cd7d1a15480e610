package page

import (
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/internal/history"
)

// rateWindow is what a rate is measured over: long enough to be read, short enough to be now.
const rateWindow = 3 * time.Second

// reading is the counters at a moment of the monotonic clock.
type reading struct {
	at time.Duration
	Counters
}

// sampler makes rates of counters. The zero value is ready.
type sampler struct {
	readings []reading // oldest first; at most one is older than rateWindow, and that one is needed to measure it
}

func (s *sampler) add(at time.Duration, c Counters) {
	s.readings = append(s.readings, reading{at, c})
	for len(s.readings) > 2 && at-s.readings[1].at >= rateWindow {
		s.readings = s.readings[1:]
	}
}

// newest returns the last counters, and the ones before to measure against, with the seconds between them; 0 seconds before
// there are two.
func (s *sampler) newest() (now, before Counters, seconds float64) {
	if len(s.readings) == 0 {
		return now, before, 0
	}
	first, last := s.readings[0], s.readings[len(s.readings)-1]
	return last.Counters, first.Counters, (last.at - first.at).Seconds()
}

// traffic is the counters now and in bytes per second.
type traffic struct {
	total history.Amounts
	rate  history.Amounts
	peers []peerTraffic
}

type peerTraffic struct {
	Peer
	in, out int64 // bytes per second
}

func (s *sampler) traffic() traffic {
	now, before, seconds := s.newest()
	t := traffic{total: now.Total}
	for i := range t.rate {
		t.rate[i] = perSecond(now.Total[i], before.Total[i], seconds)
	}
	old := make(map[fetch.PeerID]Peer, len(before.Peers))
	for _, p := range before.Peers {
		old[p.ID] = p
	}
	for _, p := range now.Peers {
		was := old[p.ID]
		if !was.Since.Equal(p.Since) { // another connection, which counts from 0
			was = Peer{}
		}
		t.peers = append(t.peers, peerTraffic{
			Peer: p, in: perSecond(p.Received, was.Received, seconds), out: perSecond(p.Sent, was.Sent, seconds),
		})
	}
	return t
}

func perSecond(now, before int64, seconds float64) int64 {
	if seconds <= 0 || now <= before {
		return 0
	}
	return int64(float64(now-before) / seconds)
}
