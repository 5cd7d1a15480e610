package sim

import (
	"fmt"
	"time"
)

// word is what is noted in the trace.
type word uint8

const (
	evJoined word = iota
	evLeft
	evAsk
	evDraw
	evCancel
	evHave
	evClaim
	evRelease
	evStored
	evGone
	evDone
	evSent
	evBusy
	evDrawn
	evCut
)

func (w word) String() string {
	return [...]string{
		"joined", "left", "ask", "draw", "cancel", "have", "claim", "release", "stored", "gone", "done", "sent", "busy", "drawn", "cut",
	}[w]
}

// note adds an event to the trace: what device n does, or what happens to it.
func (s *site) note(w word, n int, b, c int64) {
	h := mix(s.hash^uint64(s.now), uint64(w)<<48^uint64(n))
	s.hash = mix(h, uint64(b)<<32^uint64(c))
	if s.trace != nil && w != evSent {
		fmt.Fprintf(s.trace, "%10.4f %4d %-8s %d %d\n", float64(s.now)/float64(time.Second), n, w, b, c)
	}
}
