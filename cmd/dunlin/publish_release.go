package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/publish"
)

func publishReleaseCommand() *cli.Command {
	return &cli.Command{
		Name:      "release",
		Usage:     "sign the catalogue with everything that is staged, and publish it",
		ArgsUsage: "DIR",
		Description: "Needs the passphrase for the targets key. With nothing staged it signs the catalogue anew when half of the life\n" +
			"of its signature is over, which has to be done every 90 days at the latest.",
		Flags: publishFlags(&cli.BoolFlag{Name: "force", Usage: "sign anew even if nothing is due"}),
		Action: withPublisher(func(c *cli.Context, p *publish.Publisher, _ []string) error {
			r, err := p.Release(c.Context, time.Now(), c.Bool("force"))
			if err != nil {
				return err
			}
			return output(c, r, func(w *tabwriter.Writer) {
				fmt.Fprintf(w, "added\t%s\nwithdrawn\t%s\nsigned\t%s\n\n", orNone(r.Added), orNone(r.Withdrawn), orNone(r.Signed))
				printRoles(w, r.Roles)
			})
		}),
	}
}

func publishRefreshCommand() *cli.Command {
	return &cli.Command{
		Name:      "refresh",
		Usage:     "sign timestamp and snapshot anew when it is time; for a timer, needs no passphrase",
		ArgsUsage: "DIR",
		Description: "Uses the online key only. Run it every day. It ends with code 5 when a signature has run out that needs an\n" +
			"offline key.",
		Flags: publishFlags(&cli.BoolFlag{Name: "force", Usage: "sign anew even if it is not time"}),
		Action: withPublisher(func(c *cli.Context, p *publish.Publisher, _ []string) error {
			r, err := p.Refresh(c.Context, time.Now(), c.Bool("force"))
			if err != nil {
				return err
			}
			return output(c, r, func(w *tabwriter.Writer) {
				fmt.Fprintf(w, "signed\t%s\n\n", orNone(r.Signed))
				printRoles(w, r.Roles)
			})
		}),
	}
}

// withPublisher opens the folder that the first argument names.
func withPublisher(do func(*cli.Context, *publish.Publisher, []string) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		args, err := publishArgs(c)
		if err != nil {
			return err
		}
		p, err := openPublisher(c, args[0])
		if err != nil {
			return err
		}
		return do(c, p, args)
	}
}
