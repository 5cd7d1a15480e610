package fetchtest_test

import (
	"testing"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
)

func TestDeviceIsAPeer(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(3, 3<<20, 256<<10)
	part := fetchtest.NewPart(m)
	for i := range m.Pieces() {
		if i != 5 {
			if _, err := part.Put(i, data[m.Offset(i):m.Offset(i)+m.PieceSize(i)]); err != nil {
				t.Fatal(err)
			}
		}
	}
	fetchtest.TestPeer(t, m, 5, func(t *testing.T) fetch.Peer {
		d := (&fetchtest.LAN{}).Join("d", part, nil)
		t.Cleanup(d.Leave)
		return d
	})
}
