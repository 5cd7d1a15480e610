package fetch_test

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
)

// slowPart takes its time to check a piece.
type slowPart struct{ *fetchtest.Part }

func (p slowPart) Put(i int, b []byte) (bool, error) {
	time.Sleep(20 * time.Millisecond)
	return p.Part.Put(i, b)
}

// TestOneBadPieceOfALiar, also where several of its pieces wait to be checked at the same moment.
func TestOneBadPieceOfALiar(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		data, m := fetchtest.Content(8, 16*mib, 0)
		part := fetchtest.NewPart(m)
		st := besideALiar(t, data, part, slowPart{part})
		if got := st.Uses.Peers.Corrupt; got != m.PieceLength() {
			t.Errorf("%d bad pieces of one liar were checked, want 1", got/m.PieceLength())
		}
	})
}

// twoMirrors has a bad one, whose first piece of a range does not check out, and a good one.
type twoMirrors struct{ *fetchtest.WebServer }

func (w twoMirrors) Fetch(ctx context.Context, first, count int, why fetch.Reason, sink fetch.Sink) error {
	n := int(w.M.PieceSize(first))
	sink.Progress(ctx, n)
	if sink.Piece(first, bytes.Repeat([]byte("x"), n)) == nil {
		return nil
	}
	return w.WebServer.Fetch(ctx, first, count, why, sink)
}

// TestABadMirror costs what it has sent, and no range.
func TestABadMirror(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		data, m := fetchtest.Content(9, 16*mib, 0)
		web := twoMirrors{&fetchtest.WebServer{M: m, Data: data, Line: fetchtest.NewPipe(mbit100), RTT: 10 * time.Millisecond}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		st, err := fetch.File(ctx, fetchtest.NewPart(m), fetch.Options{Self: "one", Origin: web})
		if err != nil {
			t.Fatal(err)
		}
		if u := st.Uses.Origin; u.Useful != m.Length() || u.Corrupt == 0 || u.Cut != 0 || u.Duplicate != 0 {
			t.Errorf("%+v, want all of %d bytes useful and nothing cut", u, m.Length())
		}
	})
}
