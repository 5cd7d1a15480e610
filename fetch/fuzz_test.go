package fetch_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/piecehash"
)

const fuzzPieces = 16

// fuzzer drives a decision by a script and keeps its own books of what was said and asked.
type fuzzer struct {
	*desk
	script []byte
	now    time.Duration
	has    map[fetch.PeerID]*piecehash.Bitmap // what members have said to have
	asked  map[fetch.Ask]bool                 // under way
	drawn  map[int]fetch.Draw
	stored piecehash.Bitmap
}

func (f *fuzzer) arg() int {
	if len(f.script) == 0 {
		return 0
	}
	b := f.script[0]
	f.script = f.script[1:]
	return int(b)
}

// FuzzCore: whatever members say in whatever order, the decision asks nobody for what he does not have, asks no more than two
// for a piece, draws no piece twice at a time and none that is stored, and never panics.
func FuzzCore(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 40, 50, 60, 70, 80, 90})
	f.Add([]byte{0, 0, 3, 4, 1, 0, 5, 3, 0, 3, 10, 8, 1, 1, 44, 0, 5, 250, 0, 5, 250, 0, 7, 0, 0, 4, 10, 8, 0, 1, 0, 5, 250, 0, 7, 1, 0, 5, 9})
	f.Fuzz(func(t *testing.T, script []byte) {
		z := &fuzzer{
			desk: newDesk(t, fuzzPieces, func(c *fetch.Config) { c.Warm = true }), script: script,
			has: make(map[fetch.PeerID]*piecehash.Bitmap), asked: make(map[fetch.Ask]bool), drawn: make(map[int]fetch.Draw),
			stored: piecehash.NewBitmap(fuzzPieces),
		}
		for len(z.script) > 0 {
			id := fetch.PeerID(fmt.Sprint("p", z.arg()%4))
			if what := z.arg() % 12; what < 5 || what > 8 {
				z.member(id, what)
			} else {
				z.device(id, what)
			}
			z.decide()
		}
	})
}

// member is something that a member does.
func (f *fuzzer) member(id fetch.PeerID, what int) {
	switch what {
	case 0:
		pieces := []int{f.arg() % fuzzPieces, f.arg() % fuzzPieces}
		f.leaves(id)
		has := piecehash.NewBitmap(fuzzPieces)
		f.has[id] = &has
		has.Set(pieces[0])
		has.Set(pieces[1])
		f.join(f.now, id, pieces...)
	case 1:
		f.leaves(id)
		f.core.Hear(f.now, fetch.Left{ID: id})
	case 2:
		s := fetch.SayHave{First: f.arg() - 10, Count: f.arg() % 20, Drawn: f.arg()%2 == 1}
		if has, ok := f.has[id]; ok && s.First >= 0 && s.First+s.Count <= fuzzPieces {
			for i := range s.Count {
				has.Set(s.First + i)
			}
		}
		f.said(f.now, id, s)
	case 3:
		f.said(f.now, id, fetch.SayClaim{
			First: f.arg() - 10, Count: f.arg() % 20, Rate: int64(f.arg()) << (f.arg() % 48), Done: int64(f.arg()) << (f.arg() % 48),
		})
	case 4:
		f.said(f.now, id, fetch.SayRelease{First: f.arg() - 10, Count: f.arg() % 20})
	case 9:
		f.core.Hear(f.now, fetch.Said{ID: id, Relayed: true, What: fetch.SayHave{First: f.arg() - 10, Count: f.arg() % 20, Drawn: true}})
		if has, ok := f.has[id]; ok { // it has a link, and what it says is taken as said over that
			for i := range fuzzPieces {
				has.Set(i)
			}
		}
	case 10:
		f.core.Hear(f.now, fetch.Said{ID: id, Relayed: true, What: fetch.SayClaim{First: f.arg() - 10, Count: f.arg() % 20}})
	case 11:
		f.core.Hear(f.now, fetch.Noticed{ID: id})
		f.core.Hear(f.now, fetch.Crowd{Size: f.arg() - 10})
	}
}

// device is something that happens to this device.
func (f *fuzzer) device(id fetch.PeerID, what int) {
	switch what {
	case 5:
		f.now += time.Duration(f.arg()) * 20 * ms
	case 6:
		for a := range f.asked {
			f.ended(a, fetch.AskResult(f.arg()%5))
			break
		}
	case 7:
		for id, a := range f.drawn {
			res := fetch.DrawResult(f.arg() % 2)
			for i := a.First; i < a.First+a.Count && (res == fetch.DrawOK || i == a.First); i++ {
				f.core.DrawProgress(f.now, id, mib)
				f.store(i, "")
			}
			delete(f.drawn, id)
			f.core.DrawEnded(f.now, id, res)
			break
		}
	case 8:
		f.store(f.arg()%fuzzPieces, id)
	}
}

func (f *fuzzer) store(i int, from fetch.PeerID) {
	f.stored.Set(i)
	f.core.Stored(f.now, i, from)
}

func (f *fuzzer) leaves(id fetch.PeerID) {
	delete(f.has, id)
	for a := range f.asked {
		if a.Peer == id {
			delete(f.asked, a)
		}
	}
}

func (f *fuzzer) ended(a fetch.Ask, res fetch.AskResult) {
	delete(f.asked, a)
	switch res {
	case fetch.AskAbsent:
		f.has[a.Peer].Clear(a.Piece)
	case fetch.AskBad:
		f.leaves(a.Peer)
	}
	f.core.AskEnded(f.now, a.Peer, a.Piece, res, time.Duration(f.arg())*ms)
}

// decide looks at what the decision asks for.
func (f *fuzzer) decide() {
	acts, wake := f.core.Decide(f.now)
	if wake <= f.now {
		f.t.Fatalf("wake %v is not after %v", wake, f.now)
	}
	for _, a := range acts {
		switch a := a.(type) {
		case fetch.Ask:
			f.checkAsk(a)
			f.asked[a] = true
		case fetch.Cancel:
			delete(f.asked, fetch.Ask(a))
		case fetch.Draw:
			f.checkDraw(a)
			f.drawn[a.ID] = a
		}
	}
}

func (f *fuzzer) checkAsk(a fetch.Ask) {
	if has, ok := f.has[a.Peer]; !ok || !has.Has(a.Piece) {
		f.t.Fatalf("%+v, but it has not said to have it", a)
	}
	holders := 1
	for o := range f.asked {
		if o.Piece == a.Piece {
			holders++
		}
	}
	if holders > 2 || f.stored.Has(a.Piece) || f.asked[a] {
		f.t.Fatalf("%+v, by %d requests; stored: %v", a, holders, f.stored.Has(a.Piece))
	}
}

func (f *fuzzer) checkDraw(a fetch.Draw) {
	if a.Count < 1 || a.First < 0 || a.First+a.Count > fuzzPieces {
		f.t.Fatalf("%+v", a)
	}
	for i := a.First; i < a.First+a.Count; i++ {
		if f.stored.Has(i) {
			f.t.Fatalf("%+v, of which piece %d is stored", a, i)
		}
	}
	for _, o := range f.drawn {
		if a.First < o.First+o.Count && o.First < a.First+a.Count {
			f.t.Fatalf("%+v beside %+v", a, o)
		}
	}
}
