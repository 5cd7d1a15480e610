package fault_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/dunlin-project/dunlin/internal/fault"
)

func TestKindSurvivesWrapping(t *testing.T) {
	base := fault.New(fault.Untrusted, "check piece 3: %w", io.ErrUnexpectedEOF)
	for name, err := range map[string]error{
		"plain":          base,
		"wrapped":        fmt.Errorf("fetch file: %w", base),
		"hinted":         fault.WithHint(base, "try again"),
		"wrapped again":  fault.Wrap(fault.Unavailable, fmt.Errorf("cycle: %w", base)),
		"hinted, no own": fault.WithHint(fmt.Errorf("outer: %w", base), "h"),
	} {
		if got := fault.Of(err); got != fault.Untrusted {
			t.Errorf("%s: kind %v, want untrusted", name, got)
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: lost its cause", name)
		}
	}
}

func TestNoKindIsInternal(t *testing.T) {
	if got := fault.Of(io.EOF); got != fault.Internal {
		t.Errorf("got %v, want internal", got)
	}
	if got := fault.Of(nil); got != 0 {
		t.Errorf("got %v, want none", got)
	}
	if fault.Wrap(fault.Refused, nil) != nil || fault.WithHint(nil, "x") != nil {
		t.Error("a nil error did not stay nil")
	}
}

func TestHintIsTheOutermost(t *testing.T) {
	err := fault.WithHint(fmt.Errorf("a: %w", fault.WithHint(io.EOF, "inner")), "outer")
	if got := fault.Hint(err); got != "outer" {
		t.Errorf("got %q", got)
	}
	if got := fault.Hint(fmt.Errorf("b: %w", fault.WithHint(io.EOF, "inner"))); got != "inner" {
		t.Errorf("got %q", got)
	}
}

func TestAnAttackOutranksEverything(t *testing.T) {
	if got := fault.Worst(fault.Unavailable, fault.Untrusted, fault.Internal); got != fault.Untrusted {
		t.Errorf("got %v", got)
	}
	if got := fault.Worst(0, fault.Unavailable, fault.Refused); got != fault.Refused {
		t.Errorf("got %v", got)
	}
	if got := fault.Worst(); got != 0 {
		t.Errorf("got %v", got)
	}
}

func TestWorstOf(t *testing.T) {
	gone, away := fault.New(fault.Unavailable, "gone"), fault.New(fault.Unavailable, "away")
	bad, policy := fault.New(fault.Untrusted, "bad"), fault.New(fault.Refused, "policy")
	for name, c := range map[string]struct {
		errs []error
		want error
	}{
		"none":                      {nil, nil},
		"only nil":                  {[]error{nil, nil}, nil},
		"one":                       {[]error{nil, gone}, gone},
		"the first of equals":       {[]error{gone, away}, gone},
		"an attack first":           {[]error{bad, gone, policy}, bad},
		"an attack last":            {[]error{gone, policy, bad}, bad},
		"no kind is internal":       {[]error{gone, io.EOF}, io.EOF},
		"usage is better than most": {[]error{fault.New(fault.Usage, "x"), away}, away},
	} {
		if got := fault.WorstOf(c.errs...); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestAgain: an error comes out of its parts as it was taken apart; a kind that nobody has is a fault of ours.
func TestAgain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kind int
		hint string
		want fault.Kind
	}{
		"with a hint":       {int(fault.Refused), "ask 100% of them", fault.Refused},
		"without one":       {int(fault.Unavailable), "", fault.Unavailable},
		"a kind too large":  {int(fault.Install) + 1, "", fault.Internal},
		"a kind that is no": {0, "", fault.Internal},
	} {
		err := fault.Again(c.kind, "50% done", c.hint)
		if fault.Of(err) != c.want || err.Error() != "50% done" || fault.Hint(err) != c.hint {
			t.Errorf("%s: %v, %q, hint %q", name, fault.Of(err), err, fault.Hint(err))
		}
	}
}
