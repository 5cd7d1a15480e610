package metadata

import (
	"net/url"
	"path"
	"strings"
	"time"
	"unicode"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/pinned"
)

// Limits of the values of a record.
const (
	MaxTitle      = 200     // bytes
	MaxList       = 64      // entries of any list
	MaxArgument   = 4 << 10 // bytes of one argument
	MaxURL        = 2 << 10 // bytes
	MaxPath       = 1 << 10 // bytes of a destination
	MaxExpression = 4 << 10 // bytes of an applicability rule
	MaxSignature  = 4 << 10 // bytes of an inline payload signature
	MaxTimeout    = 86_400  // seconds
)

func refuse(format string, args ...any) error { return fault.New(fault.Refused, format, args...) }

// firstError lets a check read as a list of what is demanded.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func demand(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return refuse(format, args...)
}

// checkText takes one line for people: no control or formatting characters that could mislead on a terminal.
func checkText(what, s string, most int) error {
	if len(s) > most {
		return refuse("check %s: %d bytes, at most %d", what, len(s), most)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return refuse("check %s: %.60q holds %q, which does not print", what, s, r)
		}
	}
	return nil
}

func checkList(what string, list []string, most int, each func(string) error) error {
	if len(list) > most {
		return refuse("check %s: %d entries, at most %d", what, len(list), most)
	}
	for _, s := range list {
		if err := each(s); err != nil {
			return err
		}
	}
	return nil
}

func checkArguments(what string, list []string) error {
	return checkList(what, list, MaxList, func(s string) error {
		return demand(len(s) <= MaxArgument && !strings.ContainsRune(s, 0), "check %s: an entry is longer than %d bytes or holds a zero byte", what, MaxArgument)
	})
}

func checkTime(what string, t time.Time, required bool) error {
	if t.IsZero() {
		return demand(!required, "check %s: the time is missing", what)
	}
	return demand(t.Location() == time.UTC && t.Nanosecond() == 0 && t.Year() >= 1970 && t.Year() <= 9999,
		"check %s: %v is not in UTC and whole seconds", what, t)
}

func checkTimeout(what string, seconds int64) error {
	return demand(seconds >= 0 && seconds <= MaxTimeout, "check %s: %d seconds is not from 0 to %d", what, seconds, MaxTimeout)
}

// checkAbsolute takes an absolute path that names what it seems to name.
func checkAbsolute(what, p string) error {
	return firstError(
		demand(len(p) <= MaxPath && path.IsAbs(p) && path.Clean(p) == p, "check %s: %.80q is not an absolute path in its shortest form", what, p),
		checkText(what, p, MaxPath))
}

// checkBase takes the URL that files are looked up below, of one of the given schemes.
func checkBase(what, s string, schemes ...string) error {
	u, err := url.Parse(s)
	if err != nil || len(s) > MaxURL {
		return refuse("check %s: %.80q is not a URL", what, s)
	}
	known := false
	for _, scheme := range schemes {
		known = known || u.Scheme == scheme
	}
	switch {
	case !known:
		return refuse("check %s: %.80q does not begin with %s", what, s, strings.Join(schemes, ":// or ")+"://")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "":
		return refuse("check %s: %.80q holds more than a host and a path", what, s)
	case u.Scheme == "file":
		return demand(u.Host == "" && path.IsAbs(u.Path) && path.Clean(u.Path+"/") == strings.TrimSuffix(u.Path, "/"), "check %s: %.80q does not name a folder by its absolute path", what, s)
	}
	return demand(u.Hostname() != "" && !strings.Contains(u.Path, ".."), "check %s: %.80q names no host", what, s)
}

func checkBases(what string, list []string, schemes ...string) error {
	return checkList(what, list, MaxList, func(s string) error { return checkBase(what, s, schemes...) })
}

// checkEndpoints takes the base URLs of metadata together with what they are pinned to: https needs an authority and at
// least one pin, because a name in a public certificate proves nothing about a publisher.
func checkEndpoints(what string, bases []string, ca string, pins []Pin) error {
	if err := checkBases(what, bases, "https", "file"); err != nil {
		return err
	}
	if len(pins) > MaxList {
		return refuse("check %s: %d pins, at most %d", what, len(pins), MaxList)
	}
	if ca != "" {
		if _, err := pinned.ParseAuthority([]byte(ca)); err != nil {
			return err
		}
	}
	for _, b := range bases {
		if strings.HasPrefix(b, "https:") && (ca == "" || len(pins) == 0) {
			return refuse("check %s: %s needs a certificate authority and a pin", what, b)
		}
	}
	return nil
}
