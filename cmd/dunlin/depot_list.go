package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/depot"
)

func depotUnapproveCommand() *cli.Command {
	return &cli.Command{
		Name: "unapprove", Usage: "take an approval back; devices keep what they have installed", ArgsUsage: "PUBLISHER/ID@VERSION",
		Flags: depotFlags(ringsFlag("the `RING` to take it back from; may be repeated; default: wherever it is approved")),
		Action: func(c *cli.Context) error {
			update, err := oneArgument(c, "PUBLISHER/ID@VERSION")
			if err != nil {
				return err
			}
			r, err := askDepot(c, &depot.Request{Unapprove: &depot.UnapproveRequest{Update: update, Rings: c.StringSlice("ring")}})
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(c.App.Writer, r.Unapprove)
			}
			_, err = fmt.Fprintf(c.App.Writer, "%s is no longer approved for %s\n", update, strings.Join(r.Unapprove.Rings, ", "))
			return err
		},
	}
}

func depotListCommand() *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "show what is approved where",
		Flags: depotFlags(ringsFlag("this `RING` only; may be repeated")),
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			r, err := askDepot(c, &depot.Request{List: &depot.ListRequest{Rings: c.StringSlice("ring")}})
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(c.App.Writer, r.List)
			}
			if len(r.List.Approved) == 0 {
				fmt.Fprintf(c.App.Writer, "nothing is approved for %s\n", strings.Join(r.List.Rings, ", "))
			}
			return printApproved(c.App.Writer, r.List.Approved)
		},
	}
}

func depotSyncCommand() *cli.Command {
	return &cli.Command{
		Name: "sync", Usage: "mirror the catalogues of the publishers", ArgsUsage: "[PUBLISHER]...",
		Flags: depotFlags(), Action: depotSync,
	}
}

func depotSync(c *cli.Context) error {
	r, err := askDepot(c, &depot.Request{Sync: &depot.SyncRequest{Publishers: c.Args().Slice()}})
	if err != nil {
		return err
	}
	if c.Bool("json") {
		if err := printJSON(c.App.Writer, r.Sync); err != nil {
			return err
		}
		return r.Sync.Err()
	}
	for _, s := range r.Sync.Catalogues {
		switch {
		case s.Failure != nil:
			fmt.Fprintf(c.App.Writer, "%s: failed, what was there stands: %s\n", s.Publisher, s.Failure.Text)
		case s.Refused > 0:
			fmt.Fprintf(c.App.Writer, "%s: %d updates, and %d that this version does not understand, good until %s\n", s.Publisher, s.Updates, s.Refused, s.Expires.Format(time.DateOnly))
		default:
			fmt.Fprintf(c.App.Writer, "%s: %d updates, good until %s\n", s.Publisher, s.Updates, s.Expires.Format(time.DateOnly))
		}
	}
	return r.Sync.Err()
}
