package history

import (
	"cmp"
	"slices"
)

// bucket is what was counted in one unit of time.
type bucket struct {
	at int64 // number of the unit since 1970
	Amounts
}

// series is the newest buckets in which something was counted, by time.
type series struct {
	most    int
	buckets []bucket
}

func (s *series) find(at int64) (int, bool) {
	return slices.BinarySearchFunc(s.buckets, at, func(b bucket, at int64) int { return cmp.Compare(b.at, at) })
}

// add counts in the unit at. The oldest bucket makes room: by number and not by age, so that a clock which was wrong for a
// moment takes nothing away.
func (s *series) add(at int64, a Amounts) {
	i, found := s.find(at)
	if found {
		s.buckets[i].Amounts = s.buckets[i].plus(a)
		return
	}
	s.buckets = slices.Insert(s.buckets, i, bucket{at, a})
	if extra := len(s.buckets) - s.most; extra > 0 {
		s.buckets = slices.Delete(s.buckets, 0, extra)
	}
}

// newest is the unit of the last bucket, 0 without one.
func (s *series) newest() int64 {
	if len(s.buckets) == 0 {
		return 0
	}
	return s.buckets[len(s.buckets)-1].at
}

// cut forgets all that is later than at.
func (s *series) cut(at int64) {
	i, found := s.find(at)
	if found {
		i++
	}
	s.buckets = slices.Delete(s.buckets, i, len(s.buckets))
}

// sum adds up the units from one to another, which is not in it.
func (s *series) sum(from, to int64) (a Amounts) {
	for i, _ := s.find(from); i < len(s.buckets) && s.buckets[i].at < to; i++ {
		a = a.plus(s.buckets[i].Amounts)
	}
	return a
}
