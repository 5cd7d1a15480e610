// Package fault sorts errors by what the caller must do about them.
//
// Three kinds decide, and they never mix (docs/security.md): unavailable means "try another source", untrusted means
// "drop the source and say so loudly", refused means "policy says no: do nothing, say why". Two more exist only to
// give a command its exit code: a failed installation, and wrong usage. An error without a kind is an internal fault.
//
// The package trusts nothing and imports nothing of ours. Start reading at Kind.
package fault

import (
	"errors"
	"fmt"
)

// Kind says what an error means to its caller. The values are the exit codes of the command.
type Kind int

// The kinds, with their exit codes.
const (
	Internal    Kind = 1 // a fault of ours; also every error that carries no kind
	Usage       Kind = 2 // the command line or a configuration file is wrong
	Unavailable Kind = 3 // a source or a resource is missing or not answering; another one, or a later try, may do
	Untrusted   Kind = 4 // bytes, a signature or an identity did not check out; the source must be dropped
	Refused     Kind = 5 // everything checked out and policy says no
	Install     Kind = 6 // the handler of an update failed; the state before it stands
)

// String is the kind's word in logs, metrics and --json.
func (k Kind) String() string {
	switch k {
	case Usage:
		return "usage"
	case Unavailable:
		return "unavailable"
	case Untrusted:
		return "untrusted"
	case Refused:
		return "refused"
	case Install:
		return "install"
	default:
		return "internal"
	}
}

// Error is an error with a kind and, for people, a hint what to try. Make it with New, Wrap or WithHint.
type Error struct {
	kind Kind
	hint string
	err  error
}

func (e *Error) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.err }

// New formats an error of the given kind, as fmt.Errorf does (%w included).
func New(k Kind, format string, args ...any) error {
	return &Error{kind: k, err: fmt.Errorf(format, args...)}
}

// Wrap gives err a kind. It does not change the kind of an error that has one already: the place that detected the
// fault knows best what it means. A nil err stays nil.
func Wrap(k Kind, err error) error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) && e.kind != 0 {
		return err
	}
	return &Error{kind: k, err: err}
}

// WithHint adds one sentence that says what to try. The kind of err is kept. A nil err stays nil.
func WithHint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &Error{kind: kindOf(err), hint: fmt.Sprintf(format, args...), err: err}
}

// Of returns the kind of err: the outermost one that was set, Internal if none was, 0 for nil.
func Of(err error) Kind {
	if err == nil {
		return 0
	}
	if k := kindOf(err); k != 0 {
		return k
	}
	return Internal
}

// Is reports whether err has the given kind.
func Is(err error, k Kind) bool { return Of(err) == k }

// Again is an error again that was taken apart for another process: its kind, its text and its hint ("" for none). A kind that is none
// is Internal.
func Again(kind int, text, hint string) error {
	k := Kind(kind)
	if k < Internal || k > Install {
		k = Internal
	}
	err := New(k, "%s", text)
	if hint != "" {
		err = WithHint(err, "%s", hint)
	}
	return err
}

// Hint returns the outermost hint of err, or "".
func Hint(err error) string {
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return ""
		}
		if e.hint != "" {
			return e.hint
		}
		err = e.err
	}
	return ""
}

// Worst returns the kind that decides for several jobs: untrusted over internal over install over refused over
// unavailable, because an attack must not hide behind a full disk. It returns 0 if all are 0.
func Worst(kinds ...Kind) Kind {
	rank := func(k Kind) int {
		switch k {
		case Untrusted:
			return 6
		case Internal:
			return 5
		case Install:
			return 4
		case Refused:
			return 3
		case Unavailable:
			return 2
		case Usage:
			return 1
		default:
			return 0
		}
	}
	var worst Kind
	for _, k := range kinds {
		if rank(k) > rank(worst) {
			worst = k
		}
	}
	return worst
}

// WorstOf returns the error whose kind decides for several, see Worst; of several with that kind the first. It returns nil
// if all are nil. The error is returned as it is.
func WorstOf(errs ...error) error {
	var worst error
	for _, err := range errs {
		if k := Of(err); k != Of(worst) && Worst(k, Of(worst)) == k {
			worst = err
		}
	}
	return worst
}

func kindOf(err error) Kind {
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return 0
		}
		if e.kind != 0 {
			return e.kind
		}
		err = e.err
	}
	return 0
}
