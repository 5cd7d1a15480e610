package room

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/dunlin-project/dunlin/store"
)

const (
	// halfLife is after how long a use counts half, and how much a doubling of uses adds to the worth.
	halfLife = 24 * time.Hour
	// Abandoned is how long nothing was written to partial content that may go.
	Abandoned = time.Hour
)

// Limits are what a store is to keep within. The zero value lets it grow until the disk is full.
type Limits struct {
	// Bytes is what all content may take of the disk; 0 for no limit.
	Bytes int64
	// Percent is the same as a share of the disk's size, 1 to 100; 0 for no limit. Of the two the smaller holds.
	Percent int
	// Age is how long after its last use content goes; 0 for never.
	Age time.Duration
	// Free is how many bytes of the disk stay free, whoever takes the others; 0 for none.
	Free int64
}

// most is what all content may take, in bytes.
func (l Limits) most(d store.Disk) int64 {
	most := int64(math.MaxInt64)
	if l.Bytes > 0 {
		most = l.Bytes
	}
	if l.Percent > 0 {
		most = min(most, d.Size/100*int64(l.Percent))
	}
	return most
}

// Excess says what has to go. Aged is too old, whatever room there is; then next, the least useful first, for as long as over
// bytes are too many with need bytes more. What is pinned or in use is in neither.
type Excess struct {
	Aged, Next []store.Entry
	Over       int64 // after Aged has gone; not positive when all is well
}

// Find is the decision. kept says of an entry that it must stay.
func Find(all []store.Entry, l Limits, d store.Disk, need int64, kept func(store.Entry) bool, now time.Time) Excess {
	var x Excess
	var sum, aged int64
	for _, e := range all {
		sum += e.Bytes
		switch {
		case kept(e) || !e.Whole && now.Sub(e.Used) < Abandoned:
		case l.Age > 0 && now.Sub(e.Used) > l.Age:
			x.Aged = append(x.Aged, e)
			aged += e.Bytes
		default:
			x.Next = append(x.Next, e)
		}
	}
	x.Over = max(sum-l.most(d), l.Free-d.Free)
	x.Over += need - aged
	slices.SortFunc(x.Next, less)
	return x
}

// Useful puts the most useful content first.
func Useful(all []store.Entry) {
	slices.SortFunc(all, func(a, b store.Entry) int { return less(b, a) })
}

// less puts what is less useful first.
func less(a, b store.Entry) int {
	if c := a.Worth.Compare(b.Worth); c != 0 {
		return c
	}
	if c := cmp.Compare(b.Bytes, a.Bytes); c != 0 {
		return c
	}
	return slices.Compare(a.Root[:], b.Root[:])
}

// worthAfter is the worth of content that is used once more, uses times over, at now. With h the half life and t the moments
// of its uses it is h x log2(sum of 2^(t/h)): the sum of uses that fade, told as the time of one use that weighs as much.
func worthAfter(worth, now time.Time, uses float64) time.Time {
	if uses <= 0 {
		return worth
	}
	before := math.Exp2(float64(worth.Sub(now)) / float64(halfLife)) // how many uses of now all before weigh
	return now.Add(time.Duration(math.Log2(before+uses) * float64(halfLife)))
}

// maxWorth is how far beyond its last use worth can lie: 2^20 uses.
const maxWorth = 20 * halfLife

// sane mends times that a clock which jumped, or somebody's copy of the folder, has left.
func sane(e store.Entry, now time.Time) store.Entry {
	if e.Used.After(now) {
		e.Used = now
	}
	if e.Worth.After(now.Add(maxWorth)) || e.Worth.IsZero() {
		e.Worth = e.Used
	}
	return e
}
