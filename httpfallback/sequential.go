package httpfallback

import (
	"context"
)

// Some servers answer every range with the whole file (python3 -m http.server, some proxies). Such a mirror is asked
// last, and then used as what it is: the file is read once from its beginning, by one Fetch after the other. Each reads
// on to the end of its range and hands over what lies on the way too; behind that the stream rests, held back by TCP.

// readOn reads a server without ranges up to the end of this run.
func (r *run) readOn(ctx context.Context, m *mirror) error {
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if r.o.wasDelivered(r.next, r.end) {
		r.next = r.end
		return nil
	}
	release, err := r.o.gate.admit(ctx, r.o.gate.slots)
	if err != nil {
		return err
	}
	defer release()
	s, err := r.rewind(ctx, m)
	if err != nil {
		return err
	}
	detach := s.attach(ctx)
	err = r.read(ctx, m, s, r.end)
	detach()
	if s.next = r.next; err == nil && s.next < r.o.content.Pieces() {
		m.stream = s
		return nil
	}
	if err == nil {
		s.expectEnd(r.spent)
	}
	s.close()
	return err
}

// rewind returns the stream at or before the piece that is needed: the one at rest, or a new one.
func (r *run) rewind(ctx context.Context, m *mirror) (*stream, error) {
	s := m.stream
	m.stream = nil
	if s != nil && s.next > r.next {
		s.close()
		s = nil
	}
	if s == nil {
		var err error
		if s, err = r.open(ctx, m, 0, 0); err != nil {
			return nil, err
		}
		s.whole = true
	}
	r.discard()
	r.next = s.next
	if !r.rewound { // once: what a second stream brings again is no progress
		r.rewound, r.mark = true, r.position()
	}
	return s, nil
}

// park sets the stream at rest; the caller holds the mirror's turn.
func (m *mirror) park(s *stream) {
	if m.stream != nil {
		m.stream.close()
	}
	m.stream = s
}

// wasDelivered reports whether all pieces from first to end-1 have been handed over since they were last asked for,
// on the way to others. It forgets that: who asks for them again gets them again.
func (o *Origin) wasDelivered(first, end int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := first; i < end; i++ {
		if !o.delivered.Has(i) {
			return false
		}
	}
	for i := first; i < end; i++ {
		o.delivered.Clear(i)
	}
	return true
}

// setDelivered notes that the sink took piece i.
func (o *Origin) setDelivered(i int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.delivered.Set(i)
}

func (o *Origin) isDelivered(i int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.delivered.Has(i)
}

func (o *Origin) isSequential(m *mirror) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return m.sequential
}

func (o *Origin) setSequential(ctx context.Context, m *mirror) {
	o.mu.Lock()
	first := !m.sequential
	m.sequential = true
	o.mu.Unlock()
	if first {
		o.log.InfoContext(ctx, "origin does not serve ranges: it is read from the beginning", "source", m.name)
	}
}
