package room

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store"
)

func at(days float64) time.Time {
	return time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(days * float64(24*time.Hour)))
}

// days is worth as days after at(0).
func days(t time.Time) float64 { return t.Sub(at(0)).Hours() / 24 }

func TestWorthGrowsWithUsesAndFades(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before time.Time
		now    float64
		uses   float64
		want   float64
	}{
		"one use, long after":         {at(-100), 0, 1, 0},
		"eight uses at once":          {at(-100), 0, 8, 3},
		"a second use right away":     {at(0), 0, 1, 1},
		"a second use a day later":    {at(0), 1, 1, 1 + math.Log2(1.5)},
		"half a use, long after":      {at(-100), 0, 0.5, -1},
		"a favourite that was asked":  {at(10), 0, 1, math.Log2(1 + 1024)},
		"nothing was given":           {at(3), 9, 0, 3},
		"an old copy with a bad date": {time.Time{}, 0, 1, 0},
	} {
		if got := days(worthAfter(c.before, at(c.now), c.uses)); math.Abs(got-c.want) > 0.01 {
			t.Errorf("%s: %.3f days, want %.3f", name, got, c.want)
		}
	}
}

// TestManySmallUsesAreOneLargeOne: a client that asks for ranges is one client.
func TestManySmallUsesAreOneLargeOne(t *testing.T) {
	t.Parallel()
	many := at(-30)
	for range 1000 {
		many = worthAfter(many, at(0), 0.001)
	}
	if got, want := days(many), days(worthAfter(at(-30), at(0), 1)); math.Abs(got-want) > 0.01 {
		t.Errorf("%.3f days, want %.3f", got, want)
	}
}

func entry(name byte, worth float64, bytes int64) store.Entry {
	return store.Entry{Root: piecehash.Root{name}, Whole: true, Length: bytes, Bytes: bytes, Used: at(worth), Worth: at(worth)}
}

func TestFind(t *testing.T) {
	t.Parallel()
	partial := entry('p', 9.99, 100)
	partial.Whole = false
	left := entry('q', 5, 100)
	left.Whole = false
	popular := entry('b', 2, 100)
	popular.Worth = at(8)
	all := []store.Entry{entry('a', 3, 100), popular, entry('c', 7, 200), entry('d', 7, 300), partial, left} // 900
	roomy := store.Disk{Size: 10_000, Free: 5_000}
	for name, c := range map[string]struct {
		l          Limits
		d          store.Disk
		need       int64
		kept       string
		aged, next string
		over       int64
	}{
		"no limit":             {d: roomy, next: "aqdcb", over: -5000},
		"bytes":                {l: Limits{Bytes: 800}, d: roomy, next: "aqdcb", over: 100},
		"bytes, with need":     {l: Limits{Bytes: 1000}, d: roomy, need: 250, next: "aqdcb", over: 150},
		"share of the disk":    {l: Limits{Percent: 5}, d: roomy, next: "aqdcb", over: 400},
		"the smaller holds":    {l: Limits{Percent: 5, Bytes: 450}, d: roomy, next: "aqdcb", over: 450},
		"free":                 {l: Limits{Free: 5_300}, d: roomy, next: "aqdcb", over: 300},
		"free, and need":       {l: Limits{Free: 4_900}, d: roomy, need: 300, next: "aqdcb", over: 200},
		"both":                 {l: Limits{Free: 5_300, Bytes: 700}, d: roomy, next: "aqdcb", over: 300},
		"age":                  {l: Limits{Age: 6 * 24 * time.Hour}, d: roomy, aged: "ab", next: "qdc", over: -5200},
		"age makes the room":   {l: Limits{Age: 6 * 24 * time.Hour, Bytes: 800}, d: roomy, aged: "ab", next: "qdc", over: -100},
		"what is kept stays":   {l: Limits{Age: 1, Bytes: 1}, d: roomy, kept: "abcd", aged: "q", over: 799},
		"the disk is too full": {l: Limits{Free: 100}, d: store.Disk{Size: 1000}, next: "aqdcb", over: 100},
	} {
		kept := func(e store.Entry) bool { return slices.Contains([]byte(c.kept), e.Root[0]) }
		x := Find(all, c.l, c.d, c.need, kept, at(10))
		if aged, next := names(x.Aged), names(x.Next); sorted(aged) != c.aged || next != c.next || x.Over != c.over {
			t.Errorf("%s: aged %s, next %s, over %d; want %s, %s, %d", name, aged, next, x.Over, c.aged, c.next, c.over)
		}
	}
}

func names(entries []store.Entry) (s string) {
	for _, e := range entries {
		s += string(e.Root[0])
	}
	return s
}

func sorted(s string) string {
	b := []byte(s)
	slices.Sort(b)
	return string(b)
}

func TestTimesThatCannotBe(t *testing.T) {
	t.Parallel()
	now := at(10)
	e := sane(store.Entry{Used: at(400), Worth: at(500)}, now)
	if !e.Used.Equal(now) || !e.Worth.Equal(now) {
		t.Errorf("used %v, worth %v", e.Used, e.Worth)
	}
	e = sane(store.Entry{Used: at(3), Worth: at(20)}, now)
	if !e.Used.Equal(at(3)) || !e.Worth.Equal(at(20)) {
		t.Errorf("good times were changed: used %v, worth %v", e.Used, e.Worth)
	}
}
