package fetch_test

import (
	"strings"
	"testing"

	"github.com/dunlin-project/dunlin/fetch"
)

func somePicture() fetch.View {
	return fetch.View{
		Sources: []fetch.Source{
			{ID: "12D3KooWabcdefgh", Role: "device", Bytes: 3 << 20, Rate: 1 << 20, Queue: 0.5, InFlight: 512 << 10, Standing: fetch.Busy, Left: 1.25},
			{ID: "short", Role: "cache", Standing: fetch.Nothing},
		},
		Origin: fetch.OriginView{
			By:   map[string]int64{"own": 2 << 20, "steal": 1 << 10, "timeout": 0, "no_peers": 0},
			Rate: 1 << 10, Streams: 1, Site: 2, Standing: fetch.Drawing,
		},
	}
}

func TestViewIsWritten(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	if err := somePicture().Write(&b); err != nil {
		t.Fatal(err)
	}
	const want = `SOURCE           GAVE     RATE       IN FLIGHT       QUEUE   WHY NO MORE IS ASKED
origin           2.0 MiB  1.0 KiB/s  1 of 2 streams  -       drawing
device abcdefgh  3.0 MiB  1.0 MiB/s  512.0 KiB       0.50 s  busy, 1.2 s more
cache short      0 B      0 B/s      0 B             -       nothing new
asked of the origin because: own 2.0 MiB, steal 1.0 KiB
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}
