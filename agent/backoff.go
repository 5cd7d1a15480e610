package agent

import (
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/piecehash"
)

// Times between two tries to install the same thing.
const (
	firstPause = time.Minute // doubled with each further failure
	maxPause   = 24 * time.Hour
)

// pauseAfter returns how long an update is left alone after it failed so often in a row.
func pauseAfter(failures int) time.Duration {
	if failures <= 0 {
		return 0
	}
	const doublings = 11 // more than lead from firstPause to maxPause
	return min(firstPause<<min(failures-1, doublings), maxPause)
}

// tryKey is what a failure says something about: another release, or the same with another record, gets a try at once.
type tryKey struct {
	key     metadata.Key
	release int64
	record  piecehash.Hash
}

// tries remembers what could not be installed although all of it had arrived: trying that again runs programs, or hashes
// the payload, and most often ends the same way. It belongs to the goroutine of the cycle and lives as long as the process,
// so a restart, and "agent run --once", try at once.
type tries map[tryKey]try

type try struct {
	failures int
	when     time.Time
	err      error
}

func tryKeyOf(j Job) tryKey { return tryKey{j.Key, j.Update.Release, j.Offer.Target().Record} }

// paused reports whether it is too early to try again, since when, and what went wrong the last time.
func (t tries) paused(k tryKey, now time.Time) (last try, until time.Time, paused bool) {
	last, ok := t[k]
	until = last.when.Add(pauseAfter(last.failures))
	return last, until, ok && now.Before(until)
}

// failed notes a failure, if it is of a kind that the next cycle would most likely meet again.
func (t tries) failed(k tryKey, now time.Time, err error) {
	switch fault.Of(err) {
	case fault.Install, fault.Untrusted, fault.Internal:
		t[k] = try{t[k].failures + 1, now, err}
	}
}

// keepOnly forgets what is no job any more.
func (t tries) keepOnly(jobs []Job) {
	due := make(map[tryKey]bool, len(jobs))
	for _, j := range jobs {
		due[tryKeyOf(j)] = true
	}
	for k := range t {
		if !due[k] {
			delete(t, k)
		}
	}
}
