package sim

import (
	"time"

	"github.com/dunlin-project/dunlin/fetch"
)

// transfer is one request that is under way: for a piece, to a member; or for a range, to the origin.
type transfer struct {
	d         *device // who wants it
	e         *edge   // from the holder to d; nil for the origin
	first     int     // piece
	size      int64
	got, told int64
	over      bool // at d's side
	id, count int  // of a draw
	warn      int64
	why       fetch.Reason
	warned    bool
	next      int   // of a draw: the piece that is arriving
	edgeOf    int64 // and where it ends, counted from the range's start
	flow      *flow // of a draw: its connection, nil if there is none
	base      int64 // of a draw: what had arrived before this connection
	until     time.Duration
	granted   int64 // of a piece: what the holder has sent of it
	retry     time.Duration
	sum       uint64 // of a piece: what the holder sends
}

// What happens to a transfer.
const (
	argRequest = iota // arrives at the holder
	argCancel         // arrives at the holder
	argTired          // has waited there for too long
	argBusy           // arrives at the device
	argAbsent         // arrives at the device
	argAsk            // a range's request arrives at the origin
	argBroken         // the origin's connection is found to be broken, or refused
	argAgain          // the origin is asked again
	argStop           // the origin learns that the range is not wanted any more
)

func (t *transfer) happen(arg int) {
	switch arg {
	case argRequest:
		t.requested()
	case argCancel:
		if t.e.live {
			t.e.from.up.drop(t.e, t)
		}
	case argTired:
		t.tire()
	case argBusy, argAbsent:
		t.refused(arg)
	case argAsk:
		t.d.s.origin.asked(t)
	case argBroken:
		t.broken()
	case argAgain:
		t.ask()
	case argStop:
		t.d.s.origin.end(t)
	}
}

func (d *device) startAsk(a fetch.Ask) {
	from := d.s.byID[a.Peer]
	var e *edge
	if from != nil {
		e = from.linkTo[d]
	}
	if e == nil || !e.live {
		d.core.AskEnded(d.clock(), a.Peer, a.Piece, fetch.AskFailed, 0)
		return
	}
	t := &transfer{d: d, e: e, first: a.Piece, size: d.s.content.PieceSize(a.Piece)}
	d.asks = append(d.asks, t)
	d.s.q.push(e.back.word(), t, argRequest)
}

// requested: the request has come to its holder.
func (t *transfer) requested() {
	e, h := t.e, t.e.from
	switch {
	case !e.back.passes() || h.kind == Mute:
	case h.kind != Corrupt && h.store[t.first] == 0:
		t.answer(argAbsent)
	default:
		t.sum = h.store[t.first]
		if h.kind == Corrupt || h.kind == Turncoat {
			t.sum ^= 1
		}
		if wait := h.up.request(e, t); wait > 0 {
			t.retry = wait
			t.answer(argBusy)
		}
	}
}

func (t *transfer) answer(arg int) { t.d.s.q.push(t.e.word(), t, arg) }

// tire answers busy when the request still waits.
func (t *transfer) tire() {
	if !t.e.live || !t.e.from.up.forget(t.e, t) {
		return
	}
	t.retry = t.e.from.up.wait(len(t.e.serving.pending)+1, t.size)
	t.answer(argBusy)
}

func (t *transfer) refused(arg int) {
	if t.over || !t.e.passes() {
		return
	}
	t.d.forgetAsk(t)
	res := fetch.AskBusy
	if arg == argAbsent {
		res = fetch.AskAbsent
	}
	t.d.s.note(evBusy, t.d.n, int64(t.e.from.n), int64(t.first))
	t.d.core.AskEnded(t.d.clock(), t.e.from.id, t.first, res, t.retry)
	t.d.mark()
}

// arrive: n bytes of a piece have come.
func (t *transfer) arrive(n int) {
	d := t.d
	if d.dead {
		return
	}
	d.got.peers += int64(n)
	t.got += int64(n)
	if t.over {
		return
	}
	d.moved = d.s.now
	if t.got == int64(n) {
		d.flush()
		d.mark()
	}
	if t.got < t.size {
		return
	}
	from := t.e.from
	d.flushAsk(t)
	d.forgetAsk(t)
	if !d.put(t.first, t.sum, from.id) {
		d.core.AskEnded(d.clock(), from.id, t.first, fetch.AskBad, 0)
		t.e.end() // and no new link to it for a day
		d.badPieces++
	} else {
		d.core.AskEnded(d.clock(), from.id, t.first, fetch.AskOK, 0)
	}
	d.mark()
}
