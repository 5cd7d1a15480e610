package history

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// noon is a moment at the begin of an hour.
func noon() time.Time { return time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC) }

// clock feeds a history; its two times go apart only where a test says so.
type clock struct {
	h     *History
	wall  time.Time
	tick  time.Duration
	total Amounts
}

// pass lets time go by and origin bytes arrive.
func (c *clock) pass(d time.Duration, bytes int64) {
	c.wall, c.tick = c.wall.Add(d), c.tick+d
	c.total[FromOrigin] += bytes
	c.h.Observe(c.wall, c.tick, c.total)
}

func TestSumsByMinuteAndHour(t *testing.T) {
	t.Parallel()
	c := clock{h: New(), wall: noon()}
	c.pass(0, 5)
	c.pass(59*time.Second, 1)
	c.pass(time.Second, 10) // the next minute
	c.pass(59*time.Minute, 100)
	for _, w := range []struct {
		name string
		got  Amounts
		want int64
	}{
		{"first minute", c.h.Minutes(noon(), noon().Add(time.Minute)), 6},
		{"second minute", c.h.Minutes(noon().Add(time.Minute), noon().Add(2*time.Minute)), 10},
		{"minutes", c.h.Minutes(noon(), noon().Add(2*time.Hour)), 116},
		{"first hour", c.h.Hours(noon(), noon().Add(time.Hour)), 16},
		{"second hour", c.h.Hours(noon().Add(time.Hour), noon().Add(2*time.Hour)), 100},
	} {
		if w.got[FromOrigin] != w.want {
			t.Errorf("%s: %d bytes, want %d", w.name, w.got[FromOrigin], w.want)
		}
	}
}

// TestCountersThatBeginAnew: a part of the process that starts again counts from 0, and takes nothing away.
func TestCountersThatBeginAnew(t *testing.T) {
	t.Parallel()
	c := clock{h: New(), wall: noon()}
	c.total[FromPeers] = 50
	c.pass(0, 100)
	c.total[FromPeers] = 7
	c.pass(time.Second, 10)
	got := c.h.Minutes(noon(), noon().Add(time.Hour))
	if got[FromPeers] != 57 || got[FromOrigin] != 110 {
		t.Errorf("%v", got)
	}
}

func TestClockJumps(t *testing.T) {
	t.Parallel()
	all := func(c *clock) int64 { return c.h.Hours(time.Unix(0, 0), noon().AddDate(100, 0, 0))[FromOrigin] }
	at := func(c *clock, from time.Time) int64 { return c.h.Minutes(from, from.Add(time.Minute))[FromOrigin] }
	for name, f := range map[string]func(t *testing.T, c *clock){
		"a little back": func(t *testing.T, c *clock) {
			c.wall = c.wall.Add(-3 * time.Minute)
			c.pass(0, 10)
			if at(c, noon()) != 11 {
				t.Errorf("the newest minute has %d", at(c, noon()))
			}
		},
		"to 1970 and put right": func(t *testing.T, c *clock) {
			right := c.wall
			c.wall = time.Unix(5, 0)
			c.pass(10*time.Minute, 10)
			c.wall = right
			c.pass(20*time.Minute, 100)
			if at(c, noon()) != 1 || at(c, right.Add(20*time.Minute)) != 110 || all(c) != 111 {
				t.Errorf("%d, %d, %d", at(c, noon()), at(c, right.Add(20*time.Minute)), all(c))
			}
		},
		"years ahead and put right": func(t *testing.T, c *clock) {
			right := c.wall
			c.wall = c.wall.AddDate(4, 0, 0)
			c.pass(0, 10)
			c.wall = right
			c.pass(time.Minute, 100)
			if at(c, right.Add(time.Minute)) != 0 {
				t.Error("believed at once")
			}
			c.pass(patience, 1000)
			// What came while the clock was wrong is of no time; what came since it was put right counts.
			if at(c, noon()) != 1 || all(c) != 1101 {
				t.Errorf("%d, %d", at(c, noon()), all(c))
			}
		},
		"before 1970": func(t *testing.T, c *clock) {
			c.wall = time.Unix(-1e9, 0)
			c.pass(0, 10)
			c.pass(2*patience, 10)
			if all(c) != 20 {
				t.Errorf("%d", all(c))
			}
		},
		"a suspended laptop": func(t *testing.T, c *clock) {
			c.wall = c.wall.Add(72 * time.Hour) // and tick did not move
			c.pass(time.Second, 10)
			if at(c, noon()) != 1 || at(c, noon().Add(72*time.Hour)) != 10 {
				t.Errorf("%d, %d", at(c, noon()), at(c, noon().Add(72*time.Hour)))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := clock{h: New(), wall: noon()}
			c.pass(0, 1)
			f(t, &c)
		})
	}
}

// TestItsSizeIsBounded: a year of traffic in each minute.
func TestItsSizeIsBounded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "history.json")
	c := clock{h: Open(path, nil), wall: noon()}
	for range 60 * 24 * 365 {
		for i := range c.total {
			c.total[i] += 1 << 42 // a line of 600 Gbit/s
		}
		c.pass(time.Minute, 0)
	}
	if n, m := len(c.h.minutes.buckets), len(c.h.hours.buckets); n != MinutesKept || m != HoursKept {
		t.Errorf("%d minutes, %d hours", n, m)
	}
	if err := c.h.Save(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() > maxFile {
		t.Fatalf("%v, %v", info.Size(), err)
	}
	if again := Open(path, nil); len(again.hours.buckets) != HoursKept {
		t.Errorf("its own file is not read: %d hours", len(again.hours.buckets))
	}
}

func TestRestart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "history.json")
	c := clock{h: Open(path, nil), wall: noon()}
	c.pass(0, 42)
	if err := c.h.Save(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	c = clock{h: Open(path, nil), wall: c.wall, total: Amounts{}}
	c.pass(time.Minute, 7)
	if got := c.h.Hours(noon(), noon().Add(time.Hour))[FromOrigin]; got != 49 {
		t.Errorf("%d bytes, want 49", got)
	}
}

func TestDamagedFilesAreSetAside(t *testing.T) {
	t.Parallel()
	good := New()
	good.Observe(noon(), 0, Amounts{1, 2, 3, 4, 5, 6, 7, 8})
	dir := t.TempDir()
	good.path = filepath.Join(dir, "good")
	if err := good.Save(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(good.path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	row := strings.Join([]string{"[29544480", "1", "2", "3", "4", "5", "6", "7", "8]"}, ",")
	for name, bad := range map[string]string{
		"empty":          "",
		"cut":            text[:len(text)/2],
		"zeros":          string(make([]byte, 400)),
		"not an object":  "[1]",
		"more after it":  text + "{}",
		"other version":  strings.Replace(text, `"version":1`, `"version":2`, 1),
		"unknown key":    strings.Replace(text, `"version":1`, `"version":1,"x":1`, 1),
		"short row":      strings.Replace(text, ",8]", "]", 1),
		"long row":       strings.Replace(text, ",8]", ",8,9]", 1),
		"negative":       strings.Replace(text, ",8]", ",-8]", 1),
		"fraction":       strings.Replace(text, ",8]", ",8.5]", 1),
		"too much":       strings.Replace(text, ",8]", ",9007199254740993]", 1),
		"beyond 64 bits": strings.Replace(text, ",8]", ",99999999999999999999]", 1),
		"far future":     `{"version":1,"minutes":[],"hours":[[9999999999,0,0,0,0,0,0,0,0]]}`,
		"out of order":   `{"version":1,"minutes":[` + row + "," + row + `],"hours":[]}`,
		"too many":       `{"version":1,"hours":[],"minutes":[` + rows(MinutesKept+1) + `]}`,
		"too long":       text + strings.Repeat(" ", maxFile),
	} {
		if bad == text {
			t.Fatalf("%s: nothing is wrong with it", name)
		}
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		h := Open(path, nil)
		if got := h.Hours(time.Unix(0, 0), noon().AddDate(1, 0, 0)); got != (Amounts{}) {
			t.Errorf("%s: believed %v", name, got)
		}
		if kept, err := os.ReadFile(path + asideSuffix); err != nil || string(kept) != bad {
			t.Errorf("%s: not set aside as it was: %v", name, err)
		}
		h.Observe(noon(), 0, Amounts{1})
		if err := h.Save(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := Open(path, nil).Hours(noon(), noon().Add(time.Hour)); got[FromOrigin] != 1 {
			t.Errorf("%s: not begun anew: %v", name, got)
		}
	}
	if got := Open(good.path, nil).Hours(noon(), noon().Add(time.Hour)); got != (Amounts{1, 2, 3, 4, 5, 6, 7, 8}) {
		t.Errorf("a good file: %v", got)
	}
}

func rows(n int) string {
	var out []string
	for i := range n {
		b, _ := json.Marshal([]int{i + 1, 0, 0, 0, 0, 0, 0, 0, 0})
		out = append(out, string(b))
	}
	return strings.Join(out, ",")
}

// TestWhatCannotBeReadIsLeftAlone: a folder, a link and a pipe are no files of ours.
func TestWhatCannotBeReadIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "history.json")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	h := Open(path, nil)
	h.Observe(noon(), 0, Amounts{1})
	if err := h.Save(); err != nil {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(path + asideSuffix); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("set aside: %v", err)
	}
}

// FuzzDecode: whatever lies on the disk, it is believed whole or not at all, and what is believed can be written again.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"version":1,"minutes":[[29544480,1,2,3,4,5,6,7,8]],"hours":[[492408,1,2,3,4,5,6,7,8]]}`))
	f.Add([]byte(`{"version":1,"minutes":null,"hours":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		h := New()
		if h.decode(b) != nil {
			if len(h.minutes.buckets)+len(h.hours.buckets) > 0 {
				t.Fatal("believed in part")
			}
			return
		}
		again, err := json.Marshal(file{Version: fileVersion, Minutes: rowsOf(h.minutes.buckets), Hours: rowsOf(h.hours.buckets)})
		if err != nil {
			t.Fatal(err)
		}
		if err := New().decode(again); err != nil {
			t.Fatalf("%s: %v", again, err)
		}
	})
}
