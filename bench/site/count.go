package site

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// answer is one line of nginx's access log: what one request has cost the origin.
type answer struct {
	addr  string // of the device
	first int64  // first byte that was asked for
	sent  int64  // payload bytes, as far as they went
	end   time.Time
	whole bool // nothing broke it off
}

// count is what the origin has served since a mark.
type count struct {
	answers []answer
	logged  int64 // payload bytes by the access log
	linked  int64 // all bytes that its interface has sent
	broken  int   // answers that were broken off
}

// mark is where a count begins.
type mark struct{ log, linked int64 }

// settle makes nginx end what still runs and log it: it writes a line when an answer ends, and an answer to a device whose
// link is gone ends only when somebody notices. The caller has ended the clients.
func (w *network) settle() mark {
	w.t.Helper()
	w.reload()
	info, err := os.Stat(filepath.Join(w.dir, "access.log"))
	if err != nil {
		w.t.Fatal(err)
	}
	return mark{info.Size(), w.linked()}
}

// reload replaces nginx's worker and waits until the old one has ended, which it does in worker_shutdown_timeout.
func (w *network) reload() {
	w.t.Helper()
	pid, err := os.ReadFile(filepath.Join(w.dir, "nginx.pid"))
	if err != nil {
		w.t.Fatal(err)
	}
	master := strings.TrimSpace(string(pid))
	old := children(master)
	w.sh("kill -HUP " + master)
	for range 500 {
		time.Sleep(10 * time.Millisecond)
		now := children(master)
		if len(now) > 0 && !contains(now, old) {
			return
		}
	}
	w.t.Fatal("nginx's worker does not end")
}

func children(pid string) []string {
	out, _ := exec.Command("pgrep", "-P", pid).Output() // no children is an exit code
	return strings.Fields(string(out))
}

func contains(all, some []string) bool {
	for _, a := range all {
		for _, s := range some {
			if a == s {
				return true
			}
		}
	}
	return false
}

// linked returns the bytes that have gone over the origin's line: payload, headers, and its acknowledgements of requests. The
// shaper's own counter is read, since the interface's does not see the headers of packets that leave as one and are cut later.
func (w *network) linked() int64 {
	w.t.Helper()
	var qdiscs []struct {
		Kind  string
		Bytes int64
	}
	out := w.run(w.origin, "tc", "-s", "-j", "qdisc", "show", "dev", "eth0")
	if err := json.Unmarshal([]byte(out), &qdiscs); err != nil || len(qdiscs) != 1 || qdiscs[0].Kind != "tbf" {
		w.t.Fatalf("the origin's line: %v: %s", err, out)
	}
	return qdiscs[0].Bytes
}

// since counts what was served from a mark to now. The caller has ended the clients.
func (w *network) since(m mark) count {
	w.t.Helper()
	now := w.settle()
	c := count{linked: now.linked - m.linked}
	f, err := os.Open(filepath.Join(w.dir, "access.log"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Seek(m.log, 0); err != nil {
		w.t.Fatal(err)
	}
	for s := bufio.NewScanner(f); s.Scan(); {
		a, err := parseAnswer(s.Text())
		if err != nil {
			w.t.Fatalf("access log: %v: %s", err, s.Text())
		}
		c.answers = append(c.answers, a)
		c.logged += a.sent
		if !a.whole {
			c.broken++
		}
	}
	return c
}

// parseAnswer reads a line in the format of nginxConf.
func parseAnswer(line string) (a answer, err error) {
	f := strings.SplitN(line, " ", 6)
	if len(f) != 6 {
		return a, fmt.Errorf("%d fields", len(f))
	}
	a.addr, a.whole = f[0], f[4] == `"OK"`
	if a.sent, err = strconv.ParseInt(f[1], 10, 64); err != nil {
		return a, err
	}
	sec, err := strconv.ParseFloat(f[3], 64)
	if err != nil {
		return a, err
	}
	a.end = time.UnixMilli(int64(sec * 1000))
	if from, ok := strings.CutPrefix(f[5], `"bytes=`); ok {
		from, _, _ = strings.Cut(from, "-")
		a.first, err = strconv.ParseInt(from, 10, 64)
	}
	return a, err
}

// cpuTime is the machine's processors' time so far, in ticks.
type cpuTime struct{ idle, all int64 }

func cpuNow(t *testing.T) (c cpuTime) {
	t.Helper()
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	for i, f := range strings.Fields(line)[1:9] { // what follows is counted in these already
		v, _ := strconv.ParseInt(f, 10, 64)
		c.all += v
		if i == 3 || i == 4 { // idle, and waiting for a disk
			c.idle += v
		}
	}
	return c
}

// idleSince is the share of the time since then in which processors had nothing to do.
func (c cpuTime) idleSince(t *testing.T) float64 {
	t.Helper()
	now := cpuNow(t)
	return float64(now.idle-c.idle) / float64(max(1, now.all-c.all))
}
