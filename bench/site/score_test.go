package site

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dunlin-project/dunlin/bench/line"
)

// outcome is one turn of one client.
type outcome struct {
	Copies   float64          `json:"copies"`             // payload that the origin has logged, in sizes of the content
	Link     float64          `json:"link"`               // all that went over its line, likewise
	Seconds  float64          `json:"seconds"`            // the makespan
	PerBound float64          `json:"per_bound"`          // the makespan in times of the bound
	CPU      float64          `json:"cpu_s_per_gib"`      // CPU seconds for each GiB that a device was to get
	Idle     float64          `json:"idle"`               // share of the machine's CPU time
	Waste    int64            `json:"waste"`              // bytes, where the client says so
	Peak     int64            `json:"peak_rss"`           // bytes, of the worst device; 0 unknown
	Broken   int              `json:"broken"`             // answers of the origin that were broken off, by its log or a device's; one may be in both
	Because  map[string]int64 `json:"because,omitempty"`  // logged bytes by reason
	Bad      int              `json:"bad"`                // bad pieces that one device took from one other, at most
	Logged   int64            `json:"logged"`             // payload bytes that the origin has logged
	Reported int64            `json:"reported,omitempty"` // the same as the devices themselves report it
}

// starved is the idle share below which the machine, and not the client, is measured.
const starved = 0.10

func (o outcome) judged() bool { return o.Idle >= starved }

// draw is one range that a device has begun to fetch from the origin.
type draw struct {
	at           time.Time
	first, count int // pieces
	why          string
}

// told is what one run of dunlin get says about itself.
type told struct {
	done  bool
	from  struct{ Origin, Cache, Peers int64 }
	waste int64
	draws []draw
	cut   int // of these, those that it broke off, or that broke
	bad   int // bad pieces, at most from one peer
}

// readTold reads the events and the log of a run, and the one figure that leech.py prints.
func readTold(out string) (s told) {
	bad := map[string]int{}
	for line := range strings.Lines(out) {
		switch {
		case strings.HasPrefix(line, ours):
			var e struct {
				From  struct{ Origin, Cache, Peers int64 }
				Waste int64
			}
			if json.Unmarshal([]byte(line), &e) == nil {
				s.done, s.from, s.waste = true, e.From, e.Waste
			}
		case strings.HasPrefix(line, "waste "):
			fmt.Sscanf(line, "waste %d", &s.waste)
		case strings.Contains(line, `msg="origin range" `):
			s.draws = append(s.draws, readDraw(line))
		case strings.Contains(line, `msg="origin range cut"`), strings.Contains(line, `msg="origin range failed"`):
			s.cut++
		case strings.Contains(line, `msg="peer sent a bad piece"`):
			peer := field(line, "peer")
			bad[peer]++
			s.bad = max(s.bad, bad[peer])
		}
	}
	return s
}

func readDraw(line string) (d draw) {
	d.at, _ = time.Parse(time.RFC3339Nano, field(line, "time"))
	fmt.Sscan(field(line, "first"), &d.first)
	fmt.Sscan(field(line, "count"), &d.count)
	d.why = field(line, "why")
	return d
}

// field returns a value of a log line that has no spaces in it.
func field(line, name string) string {
	_, v, _ := strings.Cut(line, " "+name+"=")
	if name == "time" {
		v = strings.TrimPrefix(line, "time=")
	}
	v, _, _ = strings.Cut(strings.TrimSpace(v), " ")
	return v
}

// score fills in what the origin and the devices say of a turn. The devices have ended.
func (w *network) score(c line.Count, devices []*line.Device) (o outcome) {
	o.Logged, o.Copies = c.Logged, float64(c.Logged)/float64(w.Size)
	o.Link = float64(c.Linked) / float64(w.Size)
	o.Broken = c.Broken
	delivered := 0
	for _, d := range devices {
		s := readTold(d.Out.String())
		o.Reported += s.from.Origin
		o.Waste += s.waste
		o.Broken += s.cut // the origin takes an answer for whole once the kernel has all of it
		o.Bad = max(o.Bad, s.bad)
		o.CPU += d.CPU
		o.Peak = max(o.Peak, d.Peak)
		delivered++
	}
	o.CPU /= float64(w.Size) * float64(max(1, delivered)) / (1 << 30)
	o.Because = w.because(c, devices)
	return o
}

// because splits what the origin has logged by the reasons that the devices had.
func (w *network) because(c line.Count, devices []*line.Device) map[string]int64 {
	out := map[string]int64{}
	draws := drawsOf(devices)
	for _, a := range c.Answers {
		if d, ok := w.cause(a, draws); ok {
			out[d.why] += a.Sent
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// drawsOf returns what each device has drawn, by its address.
func drawsOf(devices []*line.Device) map[string][]draw {
	out := map[string][]draw{}
	for _, d := range devices {
		out[d.Host.Addr] = readTold(d.Out.String()).draws
	}
	return out
}

// cause returns the draw that an answer belongs to: the device's latest that began before the answer ended and covers it.
func (w *network) cause(a line.Answer, draws map[string][]draw) (draw, bool) {
	piece := int(a.First / w.PieceLength())
	for _, d := range slices.Backward(draws[a.Addr]) {
		if piece >= d.first && piece < d.first+d.count && !d.at.After(a.End.Add(time.Millisecond)) {
			return d, true
		}
	}
	return draw{}, false
}

// twice describes, a line each, what the origin has sent more than once: which bytes, who had them first and who again, why,
// and when since the start.
func (w *network) twice(c line.Count, devices []*line.Device, start time.Time) (lines []string) {
	draws := drawsOf(devices)
	names := map[string]string{}
	for _, d := range devices {
		names[d.Host.Addr] = d.Host.Name
	}
	say := func(a line.Answer) string {
		d, _ := w.cause(a, draws)
		cut := ""
		if !a.Whole {
			cut = ", broken off"
		}
		return fmt.Sprintf("%s %s %.2f-%.2f s%s", names[a.Addr], d.why, d.at.Sub(start).Seconds(), a.End.Sub(start).Seconds(), cut)
	}
	for i, a := range c.Answers {
		for _, b := range c.Answers[:i] {
			from, to := max(a.First, b.First), min(a.First+a.Sent, b.First+b.Sent)
			if from < to {
				lines = append(lines, fmt.Sprintf("%6d KiB at %6d KiB: %s; %s", (to-from)>>10, from>>10, say(b), say(a)))
			}
		}
	}
	return lines
}

// keep writes what a device has printed to the folder for it, if there is one.
func (w *network) keep(turn string, d *line.Device) {
	if *keepLog == "" {
		return
	}
	name := filepath.Join(*keepLog, fmt.Sprintf("%s-%s-%d.log", turn, d.Host.Name, time.Now().UnixNano()))
	if err := os.WriteFile(name, []byte(d.Out.String()), 0o600); err != nil {
		w.T.Error(err)
	}
}
