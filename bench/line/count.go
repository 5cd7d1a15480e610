package line

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

// Answer is one line of nginx's access log: what one request has cost the origin.
type Answer struct {
	Addr  string // of the device
	First int64  // first byte that was asked for
	Sent  int64  // payload bytes, as far as they went
	End   time.Time
	Whole bool // nothing broke it off
}

// Count is what the origin has served since a mark.
type Count struct {
	Answers []Answer
	Logged  int64 // payload bytes by the access log
	Linked  int64 // all bytes that its interface has sent
	Broken  int   // answers that were broken off
}

// Mark is where a count begins.
type Mark struct{ log, linked int64 }

// Settle makes nginx end what still runs and log it: it writes a line when an answer ends, and an answer to a device whose
// link is gone ends only when somebody notices. The caller has ended the clients.
func (w *Network) Settle() Mark {
	w.T.Helper()
	w.reload()
	info, err := os.Stat(filepath.Join(w.Dir, "access.log"))
	if err != nil {
		w.T.Fatal(err)
	}
	return Mark{info.Size(), w.linked()}
}

// reload replaces nginx's worker and waits until the old one has ended, which it does in worker_shutdown_timeout.
func (w *Network) reload() {
	w.T.Helper()
	pid, err := os.ReadFile(filepath.Join(w.Dir, "nginx.pid"))
	if err != nil {
		w.T.Fatal(err)
	}
	master := strings.TrimSpace(string(pid))
	old := children(master)
	w.Sh("kill -HUP " + master)
	for range 500 {
		time.Sleep(10 * time.Millisecond)
		now := children(master)
		if len(now) > 0 && !contains(now, old) {
			return
		}
	}
	w.T.Fatal("nginx's worker does not end")
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
func (w *Network) linked() int64 {
	w.T.Helper()
	var qdiscs []struct {
		Kind  string
		Bytes int64
	}
	out := w.Run(w.Origin, "tc", "-s", "-j", "qdisc", "show", "dev", "eth0")
	if err := json.Unmarshal([]byte(out), &qdiscs); err != nil || len(qdiscs) != 1 || qdiscs[0].Kind != "tbf" {
		w.T.Fatalf("the origin's line: %v: %s", err, out)
	}
	return qdiscs[0].Bytes
}

// Since counts what was served from a mark to now. The caller has ended the clients.
func (w *Network) Since(m Mark) Count {
	w.T.Helper()
	now := w.Settle()
	c := Count{Linked: now.linked - m.linked}
	f, err := os.Open(filepath.Join(w.Dir, "access.log"))
	if err != nil {
		w.T.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Seek(m.log, 0); err != nil {
		w.T.Fatal(err)
	}
	for s := bufio.NewScanner(f); s.Scan(); {
		a, err := parseAnswer(s.Text())
		if err != nil {
			w.T.Fatalf("access log: %v: %s", err, s.Text())
		}
		c.Answers = append(c.Answers, a)
		c.Logged += a.Sent
		if !a.Whole {
			c.Broken++
		}
	}
	return c
}

// parseAnswer reads a line in the format of nginxConf.
func parseAnswer(line string) (a Answer, err error) {
	f := strings.SplitN(line, " ", 6)
	if len(f) != 6 {
		return a, fmt.Errorf("%d fields", len(f))
	}
	a.Addr, a.Whole = f[0], f[4] == `"OK"`
	if a.Sent, err = strconv.ParseInt(f[1], 10, 64); err != nil {
		return a, err
	}
	sec, err := strconv.ParseFloat(f[3], 64)
	if err != nil {
		return a, err
	}
	a.End = time.UnixMilli(int64(sec * 1000))
	if from, ok := strings.CutPrefix(f[5], `"bytes=`); ok {
		from, _, _ = strings.Cut(from, "-")
		a.First, err = strconv.ParseInt(from, 10, 64)
	}
	return a, err
}

// CPUTime is the machine's processors' time so far, in ticks.
type CPUTime struct{ idle, all int64 }

// CPUNow reads it.
func CPUNow(t *testing.T) (c CPUTime) {
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

// IdleSince is the share of the time since then in which processors had nothing to do.
func (c CPUTime) IdleSince(t *testing.T) float64 {
	t.Helper()
	now := CPUNow(t)
	return float64(now.idle-c.idle) / float64(max(1, now.all-c.all))
}
