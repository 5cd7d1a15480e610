package tuf

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// ErrNotFound is wrapped by the error of a Source that works but does not have the file.
var ErrNotFound = errors.New("there is no such file")

// ExpiredError says that metadata verified but has run out. Its kind is unavailable: nothing was forged; a source that is
// up to date may do. It is also what a frozen repository looks like, so it must not pass in silence.
type ExpiredError struct {
	Role    string
	Expired time.Time
	Now     time.Time
}

func (e *ExpiredError) Error() string {
	return fmt.Sprintf("%s ran out at %s, and it is %s now", e.Role, e.Expired.UTC().Format(time.RFC3339), e.Now.UTC().Format(time.RFC3339))
}

// RollbackError says that a source offers something older than what is known already. Its kind is untrusted.
type RollbackError struct {
	Role      string
	Have, Got int64 // versions
}

func (e *RollbackError) Error() string {
	return fmt.Sprintf("version %d of %s is older than version %d, which is known already", e.Got, e.Role, e.Have)
}

func untrusted(format string, args ...any) error { return fault.New(fault.Untrusted, format, args...) }

// blame says which role and which source an error is about, and what to try when nobody nearer to the fault has.
func (u *Updater) blame(role string, err error) error {
	return advise(u.cfg.Source, fmt.Errorf("update %s from %s: %w", role, u.cfg.Source, err))
}

func advise(s Source, err error) error {
	if !fault.Is(err, fault.Untrusted) || fault.Hint(err) != "" {
		return err
	}
	return fault.WithHint(err, "nothing was changed here; %s gives out what nobody has signed: have it looked at, and what lies between", s)
}

// Recognisable reports whether bytes that do not verify are, or were, metadata, and so have been tampered with or damaged
// on the way; or whether they never were, as the page of a captive portal or an empty file. The line is drawn at two of
// the words that every metadata file holds: one flipped bit can spoil one of them at most.
func Recognisable(b []byte) bool {
	seen := 0
	for _, word := range []string{`"signatures"`, `"signed"`, `"keyid"`, `"_type"`, `"spec_version"`} {
		if bytes.Contains(b, []byte(word)) {
			seen++
		}
	}
	return seen >= 2
}

// judge gives the error of a file that nothing signed names by its hash (a root, the timestamp) its kind.
func judge(b []byte, err error) error {
	if err == nil || Recognisable(b) {
		return fault.Wrap(fault.Untrusted, err)
	}
	return fault.WithHint(
		fault.New(fault.Unavailable, "%d bytes that are no metadata at all: %.60q", len(b), b),
		"look at what the server really answers: a portal's page, an error page, an empty file?")
}
