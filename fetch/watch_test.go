package fetch_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
)

// TestWatch: the table accounts for every byte, of members and of the origin by reason, and names the liar, the mute one and
// the one that left.
func TestWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		data, m := fetchtest.Content(7, 48*mib, 0)
		web := &fetchtest.WebServer{M: m, Data: data, Line: fetchtest.NewPipe(mbit100 / 2), RTT: 10 * time.Millisecond}
		lan := &fetchtest.LAN{Delay: 200 * time.Microsecond}
		some := fetchtest.NewPart(m)
		for i := range m.Pieces() / 2 {
			if _, err := some.Put(i, data[m.Offset(i):m.Offset(i)+m.PieceSize(i)]); err != nil {
				t.Fatal(err)
			}
		}
		good := lan.Join("good", some, fetchtest.NewPipe(mbit100/8))
		defer good.Leave()
		liar := lan.Join("liar", fetchtest.FullPart(m, data), fetchtest.NewPipe(gbit))
		liar.Lying = true
		defer liar.Leave()
		mute := lan.Join("mute", fetchtest.FullPart(m, data), nil)
		mute.Mute = true
		defer mute.Leave()
		guest := lan.Join("guest", fetchtest.NewPart(m), nil)
		time.AfterFunc(1500*time.Millisecond, guest.Leave)
		part := fetchtest.NewPart(m)
		d := lan.Join("self", part, nil)
		defer d.Leave()

		var views []fetch.View
		st, err := fetch.File(t.Context(), part, fetch.Options{
			Self: d.ID, Site: d, Origin: web, Watch: func(v fetch.View) { views = append(views, v) },
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := int(st.Elapsed / time.Second); len(views) < n || len(views) > n+1 {
			t.Errorf("%d pictures in %v", len(views), st.Elapsed)
		}
		last := views[len(views)-1]
		sum, standing := last.Others, make(map[fetch.PeerID]fetch.Standing)
		for _, s := range last.Sources {
			sum += s.Bytes
			standing[s.ID] = s.Standing
		}
		if sum != st.From.Peers+st.From.Cache || last.Others != 0 || sum == 0 {
			t.Errorf("the table has %d bytes of members, %d of nobody; %d came", sum, last.Others, st.From.Peers)
		}
		for _, why := range fetch.Reasons() {
			if got, want := last.Origin.By[why.String()], st.OriginBy[why]; got != want {
				t.Errorf("%d bytes of the origin for %v, want %d", got, why, want)
			}
		}
		if standing["liar"] != fetch.Liar || standing["mute"] != fetch.Paused || standing["guest"] != fetch.Gone {
			t.Errorf("they stand %v", standing)
		}
		if !last.Final || views[0].Final {
			t.Error("only the last picture is the last one")
		}
		for i, s := range last.Sources {
			if i > 0 && s.Bytes > last.Sources[i-1].Bytes {
				t.Error("who gave most is not first")
			}
		}
		for _, s := range views[1].Sources {
			if s.ID == "good" && (s.Rate < mbit100/16 || s.Rate > mbit100/4 || s.Queue == 0 || s.InFlight == 0) {
				t.Errorf("in the middle: %+v", s)
			}
		}
	})
}
