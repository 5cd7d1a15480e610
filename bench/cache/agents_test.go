package cache

import (
	"fmt"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/bench/line"
)

// safeCopies is what no run may draw from the origin, however busy the machine is: far from the goals, and far below what
// devices draw that do not share.
const safeCopies = 1.5

// agents is a dozen devices and a node that all start with nothing, at once.
func (b *bench) agents() outcome {
	b.t.Helper()
	bound := b.oneCurl()
	r := b.together(0)
	return outcome{[]float64{r.copies(b), r.seconds / bound}, r.idle, r.note(b)}
}

// killed is the same with a node that ends in the middle, as if its plug were pulled.
func (b *bench) killed() outcome {
	b.t.Helper()
	r := b.together(time.Duration(b.oneCurl() / 2 * float64(time.Second)))
	return outcome{[]float64{r.copies(b), float64(r.without)}, r.idle, r.note(b)}
}

// together plays a node that fetches what it knows, and an agent on every other host. After kill, if that is not 0, the node ends.
func (b *bench) together(kill time.Duration) turn {
	b.t.Helper()
	c := company{node: b.lineUpNode("--prefetch")}
	for _, h := range b.Hosts[1:] {
		c.agents = append(c.agents, b.lineUpAgent(h))
	}
	r := b.play(c, kill)
	if r.without > 0 {
		b.fail("%d agents have no file", r.without)
	}
	if testing.Short() && r.idle >= starved && r.copies(b) > safeCopies {
		b.fail("%.3f copies from the origin, want at most %.1f", r.copies(b), safeCopies)
	}
	b.checkSaid(r)
	return r
}

// count holds what node and agents say of the origin against its log, over the turns of this round in which all lived to say it.
func (b *bench) count() outcome {
	b.t.Helper()
	if len(b.differ) == 0 {
		b.agents()
	}
	var apart, over int64
	broken := 0
	for _, r := range b.differ {
		switch d := r.Logged - r.said; {
		case !r.whole || r.Broken > 0:
			over += d
			broken += r.Broken
		case d != 0:
			apart += max(d, -d)
		}
	}
	o := outcome{Values: []float64{float64(apart)}, Idle: 1, Note: fmt.Sprintf("%d turns", len(b.differ))}
	if over > 0 {
		o.Note += fmt.Sprintf("; where something broke the log is over by %d bytes (%d answers broke off)", over, broken)
	}
	b.differ = nil
	return o
}

// memory is many clients behind one address that all take from a node at once.
func (b *bench) memory() outcome {
	b.t.Helper()
	node := b.startNode("--prefetch")
	b.must(node.Wait(patience))
	cpu, begun := line.CPUNow(b.t), time.Now()
	out := b.Run(b.Hosts[1], "sh", "-c", fmt.Sprintf(crowd, b.crowd, b.size, b.slice, b.nodeURL()))
	seconds := time.Since(begun).Seconds()
	idle := cpu.IdleSince(b.t)
	var least, most float64
	n := 0
	if _, err := fmt.Sscan(out, &n, &least, &most); err != nil || n != b.crowd {
		b.fail("%d of %d clients have what they asked for: %v\n%s", n, b.crowd, err, out)
	}
	b.stopAll(node)
	if node.Peak == 0 || node.Peak > 200<<20 {
		b.fail("the node's memory reached %s", mib(node.Peak))
	}
	rate := float64(int64(b.crowd)*b.slice) * 8 / 1e6 / seconds
	return outcome{[]float64{float64(node.Peak) / (1 << 20)}, idle, fmt.Sprintf("%.0f Mbit/s; quickest client %.2f s, slowest %.2f s", rate, least, most)}
}

// crowd asks for a slice by each of so many clients at once, and prints how many got all of it, and the least and the most
// seconds that one took.
const crowd = `for i in $(seq %[1]d); do
  from=$(( (i * 1048583) %% (%[2]d - %[3]d) ))
  curl -sf -o /dev/null -r $from-$((from + %[3]d - 1)) -w '%%{size_download} %%{time_total}\n' %[4]s &
done | awk '$1 == %[3]d { n++; if (n == 1 || $2 < least) least = $2; if ($2 > most) most = $2 } END { print n + 0, least + 0, most + 0 }'`
