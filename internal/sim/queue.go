package sim

import "time"

// event is something that will happen. It is small, and what it happens to lives long: nothing is allocated for it.
type event struct {
	at  time.Duration
	seq uint64 // of two at the same time, the one that was planned first
	do  happener
	arg int
}

// happener is what an event happens to; arg is its own.
type happener interface{ happen(arg int) }

// queue is a heap of events, with four children to a node: most of its time goes into moving events down.
type queue struct {
	heap []event
	seq  uint64
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

func (q *queue) push(at time.Duration, do happener, arg int) {
	q.seq++
	e := event{at, q.seq, do, arg}
	q.heap = append(q.heap, e)
	h, i := q.heap, len(q.heap)-1
	for i > 0 {
		up := (i - 1) / 4
		if !e.before(&h[up]) {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = e
}

func (q *queue) pop() event {
	h := q.heap
	first, last := h[0], h[len(h)-1]
	h[len(h)-1] = event{}
	h = h[:len(h)-1]
	q.heap = h
	if len(h) == 0 {
		return first
	}
	i := 0
	for {
		best, end := 4*i+1, min(4*i+5, len(h))
		if best >= len(h) {
			break
		}
		for c := best + 1; c < end; c++ {
			if h[c].before(&h[best]) {
				best = c
			}
		}
		if !h[best].before(&last) {
			break
		}
		h[i] = h[best]
		i = best
	}
	h[i] = last
	return first
}

// fifo is a queue without a bound that keeps its memory.
type fifo[T any] struct {
	items []T
	head  int
}

func (f *fifo[T]) len() int { return len(f.items) - f.head }

func (f *fifo[T]) first() *T { return &f.items[f.head] }

func (f *fifo[T]) push(x T) {
	if f.head > 32 && f.head*2 > len(f.items) {
		f.items = append(f.items[:0], f.items[f.head:]...)
		f.head = 0
	}
	f.items = append(f.items, x)
}

func (f *fifo[T]) pop() T {
	x := f.items[f.head]
	f.head++
	if f.head == len(f.items) {
		f.items, f.head = f.items[:0], 0
	}
	return x
}
