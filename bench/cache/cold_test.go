package cache

import (
	"fmt"
	"slices"
	"syscall"
	"time"

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
	said   int64 // bytes that the node's metrics and the agents say they have from the origin
	whole  bool  // all of them have said their last word
	agents int
	peak   int64 // of the node's memory, bytes
}

// company is who takes part in a turn, each at the start line; the node may run already.
type company struct {
	node          *line.Device
	agents, curls []*line.Device
}

func (c company) clients() []*line.Device { return slices.Concat(c.agents, c.curls) }

// play lets all go at once and counts. After kill, if that is not 0, the node ends as if its plug were pulled.
func (b *bench) play(c company, kill time.Duration) (r turn) {
	b.t.Helper()
	m, cpu := b.Settle(), line.CPUNow(b.t)
	if c.node.Begun.IsZero() {
		c.node.LetGo(b.t)
	}
	for _, d := range c.clients() {
		d.LetGo(b.t)
	}
	if kill > 0 {
		time.Sleep(kill)
		r.said = b.originBytes()
		c.node.Stop(syscall.SIGKILL)
	}
	r.seconds, r.without = b.finish(c.clients())
	r.idle, r.whole = cpu.IdleSince(b.t), kill == 0
	if kill == 0 {
		b.must(c.node.Wait(patience))
		r.said = b.originBytes()
	}
	b.compare(c.clients())
	b.stopAll(append(c.clients(), c.node)...)
	r.Count, r.peak, r.agents = b.Since(m), c.node.Peak, len(c.agents)
	for _, d := range c.agents {
		from, done := told(d)
		r.said += from.Origin
		r.whole = r.whole && done
	}
	b.differ = append(b.differ, r)
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
	r := b.play(company{node: b.oldNode(), curls: []*line.Device{b.lineUpCurl(b.Hosts[1], b.nodeURL())}}, 0)
	b.checkOnce(r)
	return outcome{[]float64{bound / r.seconds, r.copies(b)}, r.idle, r.note(b)}
}

// coldMany is a dozen clients without an agent that ask at once.
func (b *bench) coldMany() outcome {
	b.t.Helper()
	c := company{node: b.oldNode()}
	for _, h := range b.Hosts[1:] {
		c.curls = append(c.curls, b.lineUpCurl(h, b.nodeURL()))
	}
	r := b.play(c, 0)
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

// inFlight is what an origin may have sent and nobody received, though its log knows of no broken answer, in bytes: what two of
// its sockets hold when agents end a range early.
const inFlight = 8 << 20

// checkSaid: nobody says more than the origin has logged; nor less, when nothing broke off.
func (b *bench) checkSaid(r turn) {
	b.t.Helper()
	allowed := int64(0)
	if r.agents > 0 {
		allowed = inFlight
	}
	if r.said > r.Logged || r.whole && r.Broken == 0 && r.said < r.Logged-allowed {
		b.fail("node and agents say %d bytes of the origin, it has logged %d; %d answers broke off", r.said, r.Logged, r.Broken)
	}
}
