package sim

import "testing"

func TestDebug(t *testing.T) {
	for _, sc := range All() {
		if sc.Name != "thin-uplink" {
			continue
		}
		s := newSite(sc.defaults(), 0, 1, flaw{})
		s.run()
		for _, d := range s.devices {
			t.Logf("%d kind %d up %.0f granted %d MiB origin %d peers %d end %v", d.n, d.kind, d.spec.Up/Mbit, d.up.granted>>20, d.got.fromOrigin()>>20, d.got.peers>>20, d.ended-d.began)
		}
	}
}
