package page

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// SizeText prints bytes in a unit that keeps at most three digits before the point.
func SizeText(n int64) string {
	switch {
	case n < 0:
		return "−" + SizeText(-n)
	case n >= 1000<<30:
		return fmt.Sprintf("%.2f TiB", float64(n)/(1<<40))
	case n >= 1000<<20:
		return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
	case n >= 1000<<10:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	default:
		return fmt.Sprintf("%d B", n)
	}
}

func rateText(n int64) string { return SizeText(n) + "/s" }

// percent is "part of whole" for people; "–" of nothing. What is not quite all is never called 100 %.
func percent(part, whole int64) string {
	if whole <= 0 {
		return "–"
	}
	p := 100 * float64(part) / float64(whole)
	switch {
	case part < whole && p > 99.9:
		return "99.9 %"
	case part > 0 && p < 0.1:
		return "< 0.1 %"
	default:
		return fmt.Sprintf("%.1f %%", p)
	}
}

// agoText tells a moment as people do, to the second below a minute.
func agoText(now, t time.Time) string {
	d := now.Sub(t).Round(time.Second)
	switch {
	case t.IsZero():
		return "–"
	case d < 0:
		return "in " + spanText(-d)
	case d == 0:
		return "now"
	default:
		return spanText(d) + " ago"
	}
}

func spanText(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	case d >= time.Hour:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%d min", d/time.Minute)
	default:
		return fmt.Sprintf("%d s", d/time.Second)
	}
}

// maxText bounds each text of others that is shown, in runes.
const maxText = 300

// plain takes from a text of others what could mislead: what is not printable, and with it the marks that turn the direction
// of writing; and what is too long. It makes nothing safe for HTML: that is html/template's.
func plain(s string) string {
	n := 0
	return strings.Map(func(r rune) rune {
		n++
		switch {
		case n == maxText:
			return '…'
		case n > maxText:
			return -1
		case r == '\n':
			return ' '
		case !unicode.IsPrint(r):
			return '\uFFFD'
		}
		return r
	}, s)
}

// idTail is how many of the last signs of a peer's id are shown: the first are the same for all.
const idTail = 8

func shortID[T ~string](id T) string {
	s := plain(string(id))
	if r := []rune(s); len(r) > idTail {
		s = string(r[len(r)-idTail:])
	}
	return s
}
