package urlcache

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// heuristicMost bounds how long a file without any word about it is taken as it is (RFC 9111, section 4.2.2).
	heuristicMost = 24 * time.Hour
	// heuristicPart is the part of its age that such a file is taken to stay as it is.
	heuristicPart = 10
	// staleMost is how long beyond its time a file is served when its origin does not answer and has said nothing about that.
	staleMost = 7 * 24 * time.Hour
	// secondsMost is the most that a number of seconds means (RFC 9111, section 1.2.2).
	secondsMost = 1 << 31

	maxControl = 4 << 10 // bytes of a Cache-Control that are looked at; a longer one allows nothing
)

// control is what Cache-Control says, as far as a shared cache cares. Times are -1 where it says nothing.
type control struct {
	noStore, private, noCache, mustRevalidate, immutable bool

	maxAge, sMaxAge, staleIfError time.Duration
}

// parseControl reads the fields of that name. What makes no sense is read so that less is allowed: a time that is none is 0,
// of two times the shorter counts, and a directive with an argument where none is known counts without (RFC 9111, 5.2).
func parseControl(values []string) control {
	c := control{maxAge: -1, sMaxAge: -1, staleIfError: -1}
	text := strings.Join(values, ",")
	if len(text) > maxControl {
		return control{noStore: true, maxAge: -1, sMaxAge: -1, staleIfError: -1}
	}
	for d := range directives(text) {
		name, arg, _ := strings.Cut(d, "=")
		arg = strings.Trim(arg, " \t")
		switch strings.ToLower(strings.Trim(name, " \t")) {
		case "no-store":
			c.noStore = true
		case "private":
			c.private = true
		case "no-cache":
			c.noCache = true
		case "must-revalidate", "proxy-revalidate":
			c.mustRevalidate = true
		case "immutable":
			c.immutable = true
		case "max-age":
			shorten(&c.maxAge, arg)
		case "s-maxage":
			shorten(&c.sMaxAge, arg)
			c.mustRevalidate = true // section 5.2.2.10
		case "stale-if-error":
			shorten(&c.staleIfError, arg)
		}
	}
	return c
}

// directives yields the parts between the commas that are not inside quotes.
func directives(text string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		from, quoted := 0, false
		for i := 0; i < len(text); i++ {
			switch c := text[i]; {
			case c == '\\' && quoted:
				i++
			case c == '"':
				quoted = !quoted
			case c == ',' && !quoted:
				if !yield(text[from:i]) {
					return
				}
				from = i + 1
			}
		}
		yield(text[from:])
	}
}

func shorten(d *time.Duration, arg string) {
	if n := seconds(arg); *d < 0 || n < *d {
		*d = n
	}
}

// seconds reads a number of seconds, 0 for what is none.
func seconds(arg string) time.Duration {
	if len(arg) >= 2 && arg[0] == '"' && arg[len(arg)-1] == '"' {
		arg = arg[1 : len(arg)-1]
	}
	if arg == "" || strings.IndexFunc(arg, func(c rune) bool { return c < '0' || c > '9' }) >= 0 {
		return 0
	}
	n, err := strconv.ParseInt(arg, 10, 64)
	if err != nil || n > secondsMost {
		n = secondsMost
	}
	return time.Duration(n) * time.Second
}

// term is how long an answer may be used, and how. Its times are whole seconds where they come from headers.
type term struct {
	Got      time.Time     `json:"got"`      // when the answer came
	Age      time.Duration `json:"age"`      // how old it was then
	Lifetime time.Duration `json:"lifetime"` // how old it may get before the origin is asked again
	// Stale is how much longer it may be served when the origin does not answer.
	Stale time.Duration `json:"stale"`
	// Always has the origin asked each time.
	Always bool `json:"always,omitempty"`
	// Immutable has it not asked even where a client wants that.
	Immutable bool `json:"immutable,omitempty"`
}

// termOf reads the term of an answer that was asked for and got at these times.
func termOf(h http.Header, asked, got time.Time) term {
	c := parseControl(h.Values("Cache-Control"))
	date, ok := oneDate(h, "Date")
	if !ok {
		date = got
	}
	t := term{Got: got, Always: c.noCache, Immutable: c.immutable, Stale: staleMost}
	// Section 4.2.3.
	t.Age = min(max(got.Sub(date), seconds(h.Get("Age"))+got.Sub(asked), 0), secondsMost*time.Second)
	switch expires, given := h["Expires"]; {
	case c.sMaxAge >= 0:
		t.Lifetime = c.sMaxAge
	case c.maxAge >= 0:
		t.Lifetime = c.maxAge
	case given:
		if at, ok := oneDate(h, "Expires"); ok && len(expires) == 1 {
			t.Lifetime = min(max(at.Sub(date), 0), secondsMost*time.Second)
		}
	default:
		if changed, ok := oneDate(h, "Last-Modified"); ok {
			t.Lifetime = min(max(date.Sub(changed), 0)/heuristicPart, heuristicMost)
		}
	}
	if c.staleIfError >= 0 {
		t.Stale = c.staleIfError
	}
	if c.mustRevalidate || c.noCache {
		t.Stale = 0
	}
	return t
}

// age is how old the answer is now. A clock that was put back makes nothing younger.
func (t term) age(now time.Time) time.Duration { return t.Age + max(now.Sub(t.Got), 0) }

func (t term) fresh(now time.Time) bool { return !t.Always && t.age(now) < t.Lifetime }

// usable reports whether the answer may be served when the origin is away.
func (t term) usable(now time.Time) bool { return t.Stale > 0 && t.age(now) < t.Lifetime+t.Stale }

func oneDate(h http.Header, name string) (time.Time, bool) {
	v := h.Values(name)
	if len(v) != 1 {
		return time.Time{}, false
	}
	at, err := http.ParseTime(v[0])
	return at, err == nil
}

// unshared returns why an answer must not be kept for others, or "". Requests here carry no credentials of anybody, and of
// all that an answer may vary by they carry only that no coding is wanted.
func unshared(h http.Header) string {
	c := parseControl(h.Values("Cache-Control"))
	switch {
	case c.noStore:
		return "no-store"
	case c.private:
		return "private"
	case len(h.Values("Set-Cookie")) > 0:
		return "it sets a cookie"
	case slices.Contains(varies(h), "*"):
		return "it varies by what nobody can know"
	}
	return ""
}

// varies returns the names of the fields that an answer depends on, in their canonical form, but for Accept-Encoding: what
// is kept has no coding, which everybody can read.
func varies(h http.Header) (out []string) {
	for _, v := range h.Values("Vary") {
		for name := range strings.SplitSeq(v, ",") {
			name = http.CanonicalHeaderKey(strings.Trim(name, " \t"))
			if name != "" && name != "Accept-Encoding" && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}
