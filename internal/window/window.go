// Package window has times of the day at which something may be done, such as 22:00-06:00: the hours in which a line or a
// machine is free. It trusts the clock and the time zone of the machine. Start reading at Daily.
package window

import (
	"strconv"
	"strings"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// MaxSpans is how many spans a Daily may have.
const MaxSpans = 16

const minutesOfDay = 24 * 60

// Daily is a set of spans of each day, by the clock on the wall. The zero value is the whole day.
type Daily struct{ spans []span }

// span is from one minute of the day to before another. One that ends before it begins goes on over midnight.
type span struct{ from, to int }

// Parse reads spans HH:MM-HH:MM with commas between them, such as 22:00-06:00 or 12:00-13:00,22:00-24:00. Nothing is the whole
// day. A span ends before its last minute; one without length is refused. Errors are of kind fault.Usage.
func Parse(text string) (d Daily, err error) {
	if text == "" {
		return d, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		from, to, ok := strings.Cut(strings.TrimSpace(part), "-")
		a, okA := minute(from)
		b, okB := minute(to)
		if !ok || !okA || !okB || a == b || a == minutesOfDay || len(d.spans) == MaxSpans {
			return Daily{}, fault.New(fault.Usage, "%.60q is no window: want at most %d times such as 22:00-06:00, with commas between them", text, MaxSpans)
		}
		d.spans = append(d.spans, span{a, b})
	}
	return d, nil
}

// minute reads HH:MM, from 00:00 to 24:00.
func minute(s string) (int, bool) {
	h, m, ok := strings.Cut(s, ":")
	hours, errH := strconv.ParseUint(h, 10, 8)
	minutes, errM := strconv.ParseUint(m, 10, 8)
	n := int(60*hours + minutes)
	return n, ok && errH == nil && errM == nil && len(h) == 2 && len(m) == 2 && minutes < 60 && n <= minutesOfDay
}

// Open reports whether a moment lies in a span, by the clock of the time's own zone.
func (d Daily) Open(t time.Time) bool {
	now := 60*t.Hour() + t.Minute()
	for _, s := range d.spans {
		if s.from < s.to && s.from <= now && now < s.to || s.from > s.to && (s.from <= now || now < s.to) {
			return true
		}
	}
	return len(d.spans) == 0
}
