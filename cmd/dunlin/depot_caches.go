package main

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/depot"
	"github.com/dunlin-project/dunlin/internal/fault"
)

func depotCachesCommand() *cli.Command {
	return &cli.Command{
		Name: "caches", Usage: "show, or sign anew, which LAN caching nodes devices ask by HTTP (signing needs the offline targets key)", ArgsUsage: "[URL...]",
		Description: "Without a URL it shows what is signed. The URLs take the place of those before: http://cache.example:7681. Devices ask a node near by,\n" +
			"or one that their settings name, before these.",
		Flags: depotFlags(
			&cli.BoolFlag{Name: "none", Usage: "sign that there are none"},
			offlineFlag(),
		),
		Action: depotCaches,
	}
}

func depotCaches(c *cli.Context) error {
	bases := c.Args().Slice()
	if c.Bool("none") && len(bases) > 0 {
		return fault.New(fault.Usage, "%s: --none, but there is %.60q", c.Command.FullName(), bases[0])
	}
	d, err := depot.Open(depotConfig(c))
	if err != nil {
		return err
	}
	if c.Bool("none") || len(bases) > 0 {
		if err := d.SetCaches(c.Context, bases, unlockOnce(), time.Now()); err != nil {
			return err
		}
	}
	signed, err := d.Caches()
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c.App.Writer, map[string]any{"caches": append([]string{}, signed...)})
	}
	for _, base := range signed {
		fmt.Fprintln(c.App.Writer, base)
	}
	return nil
}
