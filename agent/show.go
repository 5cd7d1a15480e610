package agent

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// Write prints a status for people. now is what times are told relative to.
func (s Status) Write(w io.Writer, now time.Time) error {
	var b strings.Builder
	s.writeHead(&b, now)
	s.writeUpdates(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func (s Status) writeHead(b *strings.Builder, now time.Time) {
	state := "not running; this is its last word, of " + s.At.Format(time.DateTime)
	if s.Running {
		state = "running"
	}
	fmt.Fprintf(b, "device %s, ring %s", s.Device, s.Ring)
	if s.Group != "" {
		fmt.Fprintf(b, ", shares in group %s", s.Group)
	}
	fmt.Fprintf(b, "\nagent %s: %s\n", s.Version, state)
	if s.Page != "" {
		fmt.Fprintf(b, "page %s\n", s.Page)
	}
	if c := s.Cycle; c != nil {
		fmt.Fprintf(b, "last cycle: %s, began %s", c.Result, ago(now, c.Started))
		if !s.Next.IsZero() && s.Running {
			fmt.Fprintf(b, ", next %s", ago(now, s.Next))
		}
		b.WriteByte('\n')
		writeFailure(b, "  ", c.Sync)
		writeFailure(b, "  sharing: ", c.Sharing)
	}
	for _, n := range s.Caches {
		fmt.Fprintf(b, "caching node %s (%s): %s", plain(n.URL), n.Source, n.State)
		if n.Until.After(now) {
			fmt.Fprintf(b, ", asked again %s", ago(now, n.Until))
		}
		b.WriteByte('\n')
	}
	for _, e := range s.Expires {
		left := "RAN OUT " + ago(now, e.Expires)
		if e.Expires.After(now) {
			left = "valid for " + strings.TrimPrefix(ago(now, e.Expires), "in ")
		}
		fmt.Fprintf(b, "%s: %s\n", strings.TrimSpace(e.Role+" "+e.Name), left)
	}
}

func (s Status) writeUpdates(b *strings.Builder) {
	if len(s.Updates) == 0 {
		b.WriteString("no updates are known\n")
		return
	}
	var table strings.Builder
	tw := tabwriter.NewWriter(&table, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "\nUPDATE\tVERSION\tSTATE\tDETAILS")
	for _, u := range s.Updates {
		fmt.Fprintf(tw, "%s/%s\t%s\t%s\t%s\n", plain(u.Publisher), plain(u.ID), plain(u.Version), u.State, plain(u.details()))
	}
	tw.Flush() // into memory, where nothing fails
	for line := range strings.Lines(table.String()) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	if s.Dropped > 0 {
		fmt.Fprintf(b, "and %d more that are not approved\n", s.Dropped)
	}
	for _, u := range s.Updates {
		writeFailure(b, plain(u.Publisher+"/"+u.ID+" "+u.Version)+": ", u.Error)
		if u.Transfer != nil && u.Transfer.Sources != nil {
			fmt.Fprintf(b, "\nsources of %s:\n", plain(u.Publisher+"/"+u.ID+" "+u.Version))
			_ = u.Transfer.Sources.Write(b) // into memory, where nothing fails
		}
	}
}

func (u Update) details() string {
	var parts []string
	if u.Reason != "" {
		parts = append(parts, u.Reason)
	}
	if u.Reboot {
		parts = append(parts, "a reboot is needed")
	}
	if t := u.Transfer; t != nil {
		parts = append(parts, t.String())
	}
	return strings.Join(parts, "; ")
}

// String says in one line where the bytes came from.
func (t *Transfer) String() string {
	got := t.From.Total() - t.Waste + t.Resumed
	s := fmt.Sprintf("%s: %s from the origin, %s from peers", size(t.Content), size(t.From.Origin), size(t.From.Peers))
	if t.From.Cache > 0 {
		s += ", " + size(t.From.Cache) + " from caches"
	}
	if t.Resumed > 0 {
		s += ", " + size(t.Resumed) + " there before"
	}
	if t.Waste > 0 {
		s += ", " + size(t.Waste) + " wasted"
	}
	if got < t.Content {
		s += fmt.Sprintf(", %d%%", 100*got/t.Content)
	}
	return s + fmt.Sprintf(", in %.1f s", t.Seconds)
}

func writeFailure(b *strings.Builder, prefix string, f *Failure) {
	if f == nil {
		return
	}
	fmt.Fprintf(b, "%s%s: %s\n", prefix, f.Kind, plain(f.Message))
	if f.Hint != "" {
		fmt.Fprintf(b, "  try: %s\n", plain(f.Hint))
	}
}

// size prints bytes in the largest unit that keeps a digit before the point.
func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	default:
		return fmt.Sprintf("%d B", n)
	}
}

// ago tells a time as people do.
func ago(now, t time.Time) string {
	d := now.Sub(t).Round(time.Second)
	word := func(d time.Duration) string {
		switch {
		case d >= 48*time.Hour:
			return fmt.Sprintf("%d days", d/(24*time.Hour))
		case d >= time.Minute:
			return Duration(d.Truncate(time.Minute)).String()
		default:
			return Duration(d).String()
		}
	}
	switch {
	case d > 0:
		return word(d) + " ago"
	case d < 0:
		return "in " + word(-d)
	default:
		return "now"
	}
}

// plain replaces what could mislead on a terminal. Messages quote what strangers wrote, but titles and names come from
// a publisher.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, strings.ReplaceAll(s, "\n", "; "))
}
