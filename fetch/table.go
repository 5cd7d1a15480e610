package fetch

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Write prints the table of sources for people: the origin first, and the reasons of its bytes in a line of their own.
func (v View) Write(w io.Writer) error {
	var b strings.Builder
	tw := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "SOURCE\tGAVE\tRATE\tIN FLIGHT\tQUEUE\tWHY NO MORE IS ASKED")
	o := v.Origin
	var total int64
	var reasons []string
	for _, why := range Reasons() {
		n := o.By[why.String()]
		total += n
		if n > 0 {
			reasons = append(reasons, why.String()+" "+sizeText(n))
		}
	}
	fmt.Fprintf(tw, "origin\t%s\t%s/s\t%d of %d streams\t-\t%s\n", sizeText(total), sizeText(o.Rate), o.Streams, o.Site,
		standingText(o.Standing, o.Left))
	for _, s := range v.Sources {
		queue := "-"
		if s.Queue > 0 {
			queue = fmt.Sprintf("%.2f s", s.Queue)
		}
		fmt.Fprintf(tw, "%s %s\t%s\t%s/s\t%s\t%s\t%s\n", s.Role, shortID(s.ID), sizeText(s.Bytes), sizeText(s.Rate),
			sizeText(s.InFlight), queue, standingText(s.Standing, s.Left))
	}
	if v.Caches > 0 {
		fmt.Fprintf(tw, "caches, by HTTP\t%s\t\t\t\t\n", sizeText(v.Caches))
	}
	if v.Others > 0 {
		fmt.Fprintf(tw, "others\t%s\t\t\t\t\n", sizeText(v.Others))
	}
	tw.Flush() // into memory, where nothing fails
	var out strings.Builder
	for line := range strings.Lines(b.String()) {
		out.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	if len(reasons) > 0 {
		fmt.Fprintln(&out, "asked of the origin because:", strings.Join(reasons, ", "))
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func standingText(s Standing, left float64) string {
	if left > 0 {
		return fmt.Sprintf("%s, %.1f s more", s, left)
	}
	return string(s)
}

// shortID is the end of a peer id: all begin alike.
func shortID(id PeerID) string { return string(id[max(0, len(id)-8):]) }

// sizeText writes bytes for people.
func sizeText(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	f := float64(n)
	for _, u := range []string{"KiB", "MiB"} {
		if f /= 1 << 10; f < 1000 {
			return fmt.Sprintf("%.1f %s", f, u)
		}
	}
	return fmt.Sprintf("%.1f GiB", f/(1<<10))
}
