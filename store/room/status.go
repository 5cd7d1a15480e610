package room

import (
	"errors"
	"log/slog"
	"syscall"
	"time"
)

// Trouble is what keeps the store from taking content.
type Trouble string

// The words of Trouble.
const (
	Fine   Trouble = ""
	Full   Trouble = "full"   // the disk or the limit, and nothing may go
	Broken Trouble = "broken" // the disk reports errors, or may not be written to
)

// Status is how a store stands. Bytes are of the disk.
type Status struct {
	Contents int     `json:"contents"` // whole
	Partial  int     `json:"partial"`  // begun
	Pinned   int     `json:"pinned"`   // there or not
	Bytes    int64   `json:"bytes"`    // that they take
	Limit    int64   `json:"limit"`    // that they may take; 0: there is none
	DiskSize int64   `json:"disk_size"`
	DiskFree int64   `json:"disk_free"`
	Reserve  int64   `json:"reserve"` // of DiskFree, what stays free
	Removed  Removed `json:"removed"`
	Trouble  Trouble `json:"trouble,omitempty"`
}

// Status returns how the store stands; disk and pins as they were at most a minute ago.
func (k *Keeper) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := Status{
		Pinned: len(k.pinned), Bytes: k.sum, DiskSize: k.disk.Size, DiskFree: k.disk.Free, Reserve: k.cfg.Limits.Free,
		Removed: k.removed, Trouble: k.trouble.word,
	}
	if l := k.cfg.Limits; l.Bytes > 0 || l.Percent > 0 {
		s.Limit = l.most(k.disk)
	}
	for _, e := range k.all {
		if e.whole {
			s.Contents++
		}
	}
	s.Partial = len(k.all) - s.Contents
	return s
}

// Capacity is what the store may take of the disk, in bytes: what it takes, and what is free beyond the reserve, up to its limit.
func (s Status) Capacity() int64 {
	most := s.Bytes + max(s.DiskFree-s.Reserve, 0)
	if s.Limit > 0 {
		most = min(most, s.Limit)
	}
	return most
}

// TroubleOf says what an error tells about the disk.
func TroubleOf(err error) Trouble {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return Full
	case errors.Is(err, syscall.EIO), errors.Is(err, syscall.EROFS):
		return Broken
	}
	return Fine
}

// trouble is what the keeper remembers of it.
type trouble struct {
	word   Trouble
	wanted int64     // bytes that did not fit; the least of them
	last   time.Time // when it was met
}

const (
	troubleAge = time.Hour // without another failure it is over: nobody has wanted anything since
	leastFree  = 1 << 20   // bytes; a disk with less is full, whatever was wanted
)

// met notes a failure, and reports whether it is news.
func (t *trouble) met(word Trouble, wanted int64, now time.Time) bool {
	news := t.word != word
	if news || wanted < t.wanted {
		t.wanted = wanted
	}
	t.word, t.last = word, now
	return news
}

// stored notes that content was stored whole. A broken disk works again; on a full one there may be no room for others yet.
func (t *trouble) stored() {
	if t.word == Broken {
		t.last = time.Time{}
	}
}

// pass returns the trouble that is over now, with room for what did not fit or after a while, or Fine.
func (t *trouble) pass(now time.Time, room bool) Trouble {
	if t.word == Fine || !room && now.Sub(t.last) < troubleAge {
		return Fine
	}
	was := t.word
	*t = trouble{}
	return was
}

// Failed is told of an error of storing, and returns it. When it is the disk's, that is logged: once, until it is over.
func (k *Keeper) Failed(err error) error { return k.failed(leastFree, err) }

func (k *Keeper) failed(wanted int64, err error) error {
	word := TroubleOf(err)
	if word == Fine {
		return err
	}
	k.mu.Lock()
	news := k.trouble.met(word, wanted, time.Now())
	k.mu.Unlock()
	if news {
		k.log.Error("content cannot be stored; what is stored is served", slog.String("trouble", string(word)), slog.Any("err", err))
	}
	return err
}
