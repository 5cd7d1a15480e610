package site

import (
	"testing"
	"time"
)

func TestReadTold(t *testing.T) {
	t.Parallel()
	s := readTold(`{"event":"listening","addrs":["/ip4/10.77.0.12/tcp/7680/p2p/X"]}
time=2026-11-28T04:39:41.041Z level=DEBUG msg="origin range" first=29 count=2 why=own
time=2026-11-28T04:39:41.941Z level=DEBUG msg="origin range cut" missing=70000
time=2026-11-28T04:39:42.041Z level=WARN msg="peer sent a bad piece" peer=A piece=3 err="no"
time=2026-11-28T04:39:42.041Z level=WARN msg="peer sent a bad piece" peer=B piece=3 err="no"
time=2026-11-28T04:39:42.041Z level=WARN msg="peer sent a bad piece" peer=A piece=4 err="no"
{"event":"done","file":"f","bytes":7,"from":{"origin":5,"cache":0,"peers":4},"waste":2}
`)
	if !s.done || s.from.Origin != 5 || s.from.Peers != 4 || s.waste != 2 || s.bad != 2 || len(s.draws) != 1 || s.cut != 1 {
		t.Fatalf("%+v", s)
	}
	want := draw{time.Date(2026, 11, 28, 4, 39, 41, 41e6, time.UTC), 29, 2, "own"}
	if s.draws[0] != want {
		t.Errorf("%+v, want %+v", s.draws[0], want)
	}
}

func TestReadWhatOthersTell(t *testing.T) {
	t.Parallel()
	if s := readTold("waste 16384\ndone\n"); s.waste != 16384 {
		t.Errorf("%+v", s)
	}
}

// Turns in which the machine was the limit do not count, unless there are no others.
func TestMiddle(t *testing.T) {
	t.Parallel()
	all := []outcome{{Copies: 1, Idle: 0.5}, {Copies: 9, Idle: 0.05}, {Copies: 1.2, Idle: 0.5}, {Copies: 1.1, Idle: 0.5, Peak: 7}}
	if m, spread := middle(all); m.Copies != 1.1 || m.Peak != 7 || spread != "copies 1.000 to 1.200, /bound 0.000 to 0.000; 1 of 4 were CPU-bound" {
		t.Errorf("%+v, %s", m, spread)
	}
	if m, _ := middle(all[1:2]); m.Copies != 9 || m.judged() {
		t.Errorf("%+v", m)
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		goal goal
		o    outcome
		want string
	}{
		{goal{}, outcome{Idle: 1}, ""},
		{goal{1.03, 1.1, 0}, outcome{Copies: 1.0304, PerBound: 1.1, Idle: 1}, "to reach 1.03, 1.10: reached"},
		{goal{1.03, 1.1, 0}, outcome{Copies: 1.0306, PerBound: 1.1, Idle: 1}, "to reach 1.03, 1.10: MISSED"},
		{goal{1, 1.03, 64 << 20}, outcome{Copies: 1, PerBound: 1, Idle: 1, Peak: 65 << 20}, "to reach 1.00, 1.03, 64.0 MiB: MISSED"},
		{goal{copies: 1.1}, outcome{Copies: 1, PerBound: 9, Idle: 1}, "to reach 1.10: reached"},
		{goal{1.03, 1.1, 0}, outcome{Copies: 1, PerBound: 1, Idle: 0.09}, "to reach 1.03, 1.10: not judged"},
	} {
		if got := c.goal.verdict(c.o); got != c.want {
			t.Errorf("%+v: %q, want %q", c.o, got, c.want)
		}
	}
}
