package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/publish"
)

func publishWithdrawCommand() *cli.Command {
	return &cli.Command{
		Name:        "withdraw",
		Aliases:     []string{"remove"},
		Usage:       "take an update out of the catalogue with the next release",
		ArgsUsage:   "DIR ID@VERSION",
		Description: "Devices that have it keep it. The payload stays in DIR/public until `dunlin publish sweep`.",
		Flags:       publishFlags(&cli.BoolFlag{Name: "release", Usage: "release at once"}),
		Action: withPublisher(func(c *cli.Context, p *publish.Publisher, args []string) error {
			id, version, ok := strings.Cut(args[1], "@")
			if !ok {
				return fault.New(fault.Usage, "publish withdraw: %q is not ID@VERSION", args[1])
			}
			if err := p.Withdraw(c.Context, id, version); err != nil {
				return err
			}
			out := struct {
				Withdrawn string            `json:"withdrawn"`
				Released  *publish.Released `json:"released,omitempty"`
			}{Withdrawn: args[1]}
			if c.Bool("release") {
				r, err := p.Release(c.Context, time.Now(), false)
				if err != nil {
					return err
				}
				out.Released = &r
			}
			return output(c, out, func(w *tabwriter.Writer) {
				fmt.Fprintf(w, "withdrawn\t%s\n", out.Withdrawn)
				if out.Released == nil {
					fmt.Fprintf(w, "staged\tdevices see it after: dunlin publish release %s\n", args[0])
				}
			})
		}),
	}
}

func publishSweepCommand() *cli.Command {
	return &cli.Command{
		Name:      "sweep",
		Usage:     "delete payloads that the catalogue does not name any more",
		ArgsUsage: "DIR",
		Flags:     publishFlags(),
		Action: withPublisher(func(c *cli.Context, p *publish.Publisher, _ []string) error {
			gone, err := p.Sweep(c.Context)
			if err != nil {
				return err
			}
			out := struct {
				Deleted []string `json:"deleted"`
			}{append([]string{}, gone...)}
			return output(c, out, func(w *tabwriter.Writer) {
				for _, path := range gone {
					fmt.Fprintf(w, "deleted\t%s\n", path)
				}
			})
		}),
	}
}
