package page

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
)

// busySnapshot is a device that takes from the origin, a node by HTTP and many devices, and gives to some.
func busySnapshot(peers int) Snapshot {
	s := Snapshot{Kind: Device, Now: Rates{Origin: 5 << 20, Cache: 3 << 20, Devices: 1 << 20}, Total: Sum{Origin: 9 << 20}}
	s.Transfers = []Transfer{{Name: "a", Sources: &fetch.View{Caches: 7 << 20}}}
	s.Peers = append(s.Peers, PeerRow{ID: "node-12345678", Role: "cache node", In: 1 << 20, Received: 1 << 20})
	for i := range peers {
		s.Peers = append(s.Peers, PeerRow{ID: fetch.PeerID(fmt.Sprintf("device-%08d", i)), Role: "device", In: int64(i) << 20, Received: 1, Sent: 1})
	}
	return s
}

func TestFlows(t *testing.T) {
	t.Parallel()
	in, out := busySnapshot(2).flows()
	got := ""
	for _, f := range in {
		got += fmt.Sprintf("%s %s %d; ", f.Kind, f.Label, f.Rate>>20)
	}
	want := "origin Origin 5; cache Nodes by HTTP 2; cache Cache node 12345678 1; peer Device 00000001 1; peer Device 00000000 0; "
	if got != want {
		t.Errorf("in:\n%s\nwant\n%s", got, want)
	}
	if len(out) != 2 {
		t.Errorf("out: %+v", out)
	}

	in, _ = busySnapshot(50).flows()
	if len(in) != maxFlows || in[0].Kind != "origin" || in[1].Label != "Device 00000049" {
		t.Fatalf("many: %+v", in)
	}
	var sum int64
	for _, f := range in {
		sum += f.Rate
	}
	// All that moves is in the picture: the origin, the nodes (3) and 0 + 1 + ... + 49.
	if rest := in[maxFlows-1]; rest.Label != "48 others" || sum>>20 != 5+3+1225 {
		t.Errorf("the rest: %+v, together %d MiB/s", rest, sum>>20)
	}
}

// TestPicturesHoldTogether: every line ends at a box, and nothing lies outside.
func TestPicturesHoldTogether(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 3, 50} {
		for _, kind := range []Kind{Device, Node} {
			s := busySnapshot(n)
			s.Kind = kind
			for _, p := range []picture{s.widePicture(), s.tallPicture()} {
				if len(p.Lines) != len(p.Boxes) {
					t.Errorf("%s: %d lines, %d boxes", p.Class, len(p.Lines), len(p.Boxes))
				}
				for i, b := range append(p.Boxes, p.Self) {
					if b.X < 0 || b.Y < 0 || b.X+b.W > p.Width || b.Y+b.H > p.Height {
						t.Errorf("%s: box %+v lies outside of %d x %d", p.Class, b, p.Width, p.Height)
					}
					for _, o := range p.Boxes[:min(i, len(p.Boxes))] {
						if b.X < o.X+o.W && o.X < b.X+b.W && b.Y < o.Y+o.H && o.Y < b.Y+b.H {
							t.Errorf("%s: boxes %q and %q lie over each other", p.Class, b.Label, o.Label)
						}
					}
				}
				for _, l := range p.Lines {
					var x, y int
					if _, err := fmt.Sscanf(l.Head, "%d,%d", &x, &y); err != nil || !touches(p, x, y) {
						t.Errorf("%s: the head %q touches nothing", p.Class, l.Head)
					}
				}
				if !strings.Contains(p.Alt, "Origin 5.0 MiB/s") {
					t.Errorf("%s: in words: %q", p.Class, p.Alt)
				}
			}
		}
	}
}

// touches reports whether a box begins at x and has the height y in it.
func touches(p picture, x, y int) bool {
	for _, b := range append(p.Boxes, p.Self) {
		if x == b.X && y >= b.Y && y <= b.Y+b.H {
			return true
		}
	}
	return false
}

func TestChart(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	bars := []Bar{
		{From: at, Sum: Sum{Origin: 1 << 20, Cache: 2 << 20, Peers: 1 << 20, Delivered: 5 << 20}},
		{From: at.Add(time.Hour)},
	}
	c := newChart("x", "X", bars, Node, func(b Bar) string { return b.From.Format("15:04") }, []string{"a"})
	if c.Labels[0] != "5.0 MiB" || c.Empty || len(c.Rows) != 1 || c.Rows[0].When != "12:00" {
		t.Errorf("%+v", c)
	}
	first := c.Bars[0]
	if len(first.Parts) != 3 || first.Parts[0].Kind != "origin" || first.Parts[0].Y+first.Parts[0].H != chartHeight ||
		first.Parts[1].Y+first.Parts[1].H != first.Parts[0].Y || first.Parts[2].Y != chartHeight/5 || !first.Marked || first.Mark != 0 {
		t.Errorf("%+v", first)
	}
	if second := c.Bars[1]; len(second.Parts) != 0 || second.Marked {
		t.Errorf("%+v", second)
	}
	if !strings.Contains(c.Summary, "given out 5.0 MiB") {
		t.Errorf("%q", c.Summary)
	}
	empty := newChart("x", "X", bars[1:], Device, func(Bar) string { return "" }, nil)
	if !empty.Empty || len(empty.Rows) != 0 || !strings.Contains(empty.Summary, "delivered here 0 B") {
		t.Errorf("%+v", empty)
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	for got, want := range map[string]string{
		SizeText(-3 << 20): "−3.0 MiB", SizeText(0): "0 B", SizeText(1023): "1023 B", SizeText(1022 << 10): "1.0 MiB", SizeText(1000 << 20): "0.98 GiB", SizeText(5 << 40): "5.00 TiB",
		percent(0, 0): "–", percent(-5, 10): "-50.0 %", percent(99999, 100000): "99.9 %", percent(10, 10): "100.0 %", percent(1, 10000): "< 0.1 %",
		agoText(now, time.Time{}): "–", agoText(now, now.Add(90*time.Second)): "in 1 min", agoText(now, now.Add(-50*time.Hour)): "2 days ago",
		agoText(now, now.Add(-61*time.Minute)): "1 h 1 min ago", agoText(now, now): "now",
		shortID("12D3KooWabcdefgh"): "abcdefgh", shortID("x"): "x", plain("a\u202eb\nc\x1b"): "a\uFFFDb c\uFFFD",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for _, s := range append(fetch.Standings(), fetch.OriginStandings()...) {
		if why(s) == string(s) || why(s) == "" {
			t.Errorf("no sentence for %q", s)
		}
	}
}
