package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/depot"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

func ringsFlag(usage string) cli.Flag {
	return &cli.StringSliceFlag{Name: "ring", Usage: usage}
}

func depotApproveCommand() *cli.Command {
	return &cli.Command{
		Name: "approve", Usage: "give an update to the devices of a ring", ArgsUsage: "PUBLISHER/ID@VERSION",
		Flags: depotFlags(
			ringsFlag("the `RING` to approve for; may be repeated"),
			&cli.StringFlag{Name: "action", Value: string(metadata.ActionInstall), Usage: "install, remove or hold"},
			&cli.StringFlag{Name: "not-before", Usage: "do nothing before this `TIME` (2026-12-24 or 2026-12-24T22:00:00Z)"},
			&cli.StringFlag{Name: "deadline", Usage: "from this `TIME` on without regard to windows and deferrals"},
			&cli.IntFlag{Name: "share-bp", Value: metadata.FullShare, Usage: "how many of the ring's devices, in basis `POINTS`: 500 is every twentieth"},
			&cli.BoolFlag{Name: "no-peering", Usage: "devices must not exchange the content"},
			&cli.BoolFlag{Name: "downgrade", Usage: "may replace a newer release, as far as the publisher allows"},
		),
		Action: depotApprove,
	}
}

func depotApprove(c *cli.Context) error {
	update, err := oneArgument(c, "PUBLISHER/ID@VERSION --ring RING")
	if err != nil {
		return err
	}
	share := c.Int("share-bp")
	r := depot.ApproveRequest{
		Update: update, Rings: c.StringSlice("ring"), Action: metadata.Action(c.String("action")),
		ShareBP: &share, NoPeering: c.Bool("no-peering"), Downgrade: c.Bool("downgrade"),
	}
	if r.NotBefore, err = parseWhen(c, "not-before"); err != nil {
		return err
	}
	if r.Deadline, err = parseWhen(c, "deadline"); err != nil {
		return err
	}
	resp, err := askDepot(c, &depot.Request{Approve: &r})
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c.App.Writer, resp.Approve)
	}
	if w := resp.Approve.Warning; w != "" {
		fmt.Fprintf(c.App.ErrWriter, "warning: the publisher did not answer, so its newest releases may be missing: %s\n", w)
	}
	if o := resp.Approve.Content; o != nil {
		fmt.Fprintf(c.App.Writer, "content %v, %d bytes, %d of them fetched now\n", o.Root, o.Bytes, o.Fetched)
	}
	return printApproved(c.App.Writer, resp.Approve.Approved)
}

// parseWhen reads a day, which begins at midnight UTC, or a time with its zone.
func parseWhen(c *cli.Context, flag string) (time.Time, error) {
	s := c.String(flag)
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fault.WithHint(fault.New(fault.Usage, "read --%s: %.40q is no time", flag, s), "write 2026-12-24 or 2026-12-24T22:00:00Z")
}

func printApproved(out io.Writer, list []depot.Approved) error {
	w := tabwriter.NewWriter(out, 2, 0, 2, ' ', 0)
	for _, a := range list {
		fmt.Fprintf(w, "%s\t%s\t%v\t%s\n", a.Ring, a.Action, depot.Ref{Publisher: a.Publisher, ID: a.ID, Version: a.Version}, strings.Join(conditions(a), ", "))
	}
	return w.Flush()
}

func conditions(a depot.Approved) []string {
	var out []string
	if a.ShareBP != metadata.FullShare {
		out = append(out, fmt.Sprintf("%d of 10000 devices", a.ShareBP))
	}
	if !a.NotBefore.IsZero() {
		out = append(out, "not before "+a.NotBefore.Format(time.RFC3339))
	}
	if !a.Deadline.IsZero() {
		out = append(out, "deadline "+a.Deadline.Format(time.RFC3339))
	}
	if !a.Peering {
		out = append(out, "no peering")
	}
	return out
}
