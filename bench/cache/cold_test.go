package cache

import (
	"fmt"

	"github.com/dunlin-project/dunlin/bench/line"
)

// oneCurl returns the seconds of one curl straight from the origin, measured once a round: a site whose line carries one copy
// cannot be faster.
func (b *bench) oneCurl() float64 {
	b.t.Helper()
	if b.bound > 0 {
		return b.bound
	}
	d := b.lineUpCurl(b.Hosts[1], b.URL())
	d.LetGo(b.t)
	b.bound, _ = b.finish([]*line.Device{d})
	b.compare([]*line.Device{d})
	b.stopAll(d)
	return b.bound
}

// turn is what one turn on the site has cost.
type turn struct {
	seconds float64 // until the last client had the file
	without int     // clients that never had it
	idle    float64
	line.Count
	said  int64 // bytes that node and agents say they have from the origin
	whole bool  // all of them have said their last word
	peak  int64 // of the node's memory, bytes
}

// play lets clients go at once beside a node, which is let go as well unless it runs, and counts. half, if not nil, happens to
// the node while they fetch.
func (b *bench) play(node *line.Device, clients []*line.Device, half func(*line.Device)) (r turn) {
	b.t.Helper()
	m, cpu := b.Settle(), line.CPUNow(b.t)
	if node.Begun.IsZero() {
		node.LetGo(b.t)
	}
	for _, d := range clients {
		d.LetGo(b.t)
	}
	if half != nil {
		half(node)
	}
	r.seconds, r.without = b.finish(clients)
	r.idle = cpu.IdleSince(b.t)
	if half == nil {
		b.must(node.Wait(patience))
	}
	b.compare(clients)
	b.stopAll(append(clients, node)...)
	r.Count, r.whole, r.peak = b.Since(m), true, node.Peak
	for _, d := range append(clients, node) {
		from, whole := told(d)
		r.said += from.Origin
		r.whole = r.whole && whole
	}
	return r
}

func (r turn) copies(b *bench) float64 { return float64(r.Logged) / float64(b.size) }

// note is what else is of interest.
func (r turn) note(b *bench) string {
	return fmt.Sprintf("%.2f s, link %.3f, node's peak %s", r.seconds, float64(r.Linked)/float64(b.size), mib(r.peak))
}

// coldOne is one client of a node that has nothing yet.
func (b *bench) coldOne() outcome {
	b.t.Helper()
	bound := b.oneCurl()
	node := b.startNode()
	r := b.play(node, []*line.Device{b.lineUpCurl(b.Hosts[1], b.nodeURL())}, nil)
	b.checkOnce(r)
	return outcome{[]float64{bound / r.seconds, r.copies(b)}, r.idle, r.note(b)}
}

// coldMany is a dozen clients without an agent that ask at once.
func (b *bench) coldMany() outcome {
	b.t.Helper()
	node := b.startNode()
	var clients []*line.Device
	for _, h := range b.Hosts[1:] {
		clients = append(clients, b.lineUpCurl(h, b.nodeURL()))
	}
	r := b.play(node, clients, nil)
	b.checkOnce(r)
	return outcome{[]float64{r.copies(b)}, r.idle, r.note(b)}
}

// checkOnce: whatever clients without an agent ask of a node, the origin gives every byte once, and the node says so.
func (b *bench) checkOnce(r turn) {
	b.t.Helper()
	if r.without > 0 || r.Logged != b.size || r.Broken > 0 || r.Linked < b.size {
		b.fail("%d clients have no file; the origin has logged %d bytes of %d, its line %d; %d answers broke off", r.without, r.Logged, b.size, r.Linked, r.Broken)
	}
	b.checkSaid(r)
}

// checkSaid: nobody says more than the origin has logged, and when nothing broke off nobody says less.
func (b *bench) checkSaid(r turn) {
	b.t.Helper()
	if r.said > r.Logged || r.whole && r.Broken == 0 && r.said != r.Logged {
		b.fail("node and agents say %d bytes of the origin, it has logged %d; %d answers broke off", r.said, r.Logged, r.Broken)
	}
}
