package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/internal/demo"
	"github.com/dunlin-project/dunlin/internal/fault"
)

// defaultLoad lets every device finish one update, and look for the next, before it comes.
const defaultLoad = 15 * time.Second

func demoCommand() *cli.Command {
	return &cli.Command{
		Name:  "demo",
		Usage: "show one update on its way from a publisher to several devices, on this machine",
		Description: "Starts a publisher's origin behind a line of 16 MiB/s, a depot and devices as processes of their own on\n" +
			"loopback addresses, publishes an update, approves it, waits until every device has installed it, and says\n" +
			"where each byte came from. Everything is written below one folder, which goes away at the end.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "file", Usage: "publish the file `PATH`; default: this binary, packed as tar.zst"},
			&cli.IntFlag{Name: "devices", Usage: "how many (`N`) devices", Value: 3},
			&cli.BoolFlag{Name: "keep", Usage: "start a cache node too, leave everything running until interrupted, and say where it is"},
			&cli.BoolFlag{Name: "load", Usage: "with --keep, publish an update again and again, every other one for a moment to come"},
			&cli.DurationFlag{Name: "load-every", Usage: "`TIME` from one such update to the next, at least 8s", Value: defaultLoad},
			&cli.BoolFlag{Name: "json", Usage: "print one JSON object at the end"},
		},
		Action:      demoAction,
		Subcommands: []*cli.Command{demoOriginCommand()},
	}
}

func demoAction(c *cli.Context) (err error) {
	if c.NArg() > 0 {
		return fault.New(fault.Usage, "demo: %q is one argument too many", c.Args().First())
	}
	if c.Bool("load") && !c.Bool("keep") {
		return fault.New(fault.Usage, "demo: --load has something to show only with --keep")
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	dir, err := os.MkdirTemp("", "dunlin-demo-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	defer func() {
		if e := os.RemoveAll(dir); err == nil && e != nil {
			err = e
		}
	}()
	o := demo.Options{
		Program: program, File: c.String("file"), Devices: c.Int("devices"), Cache: c.Bool("keep"), Dir: dir, Log: c.App.ErrWriter,
	}
	if c.Bool("load") {
		o.Load = c.Duration("load-every")
	}
	o.Ready = func(ctx context.Context, r *demo.Running) error { return demoReady(ctx, c, r) }
	_, err = demo.Run(c.Context, o)
	return err
}

// demoReady prints what came of it; with --keep it then waits to be interrupted.
func demoReady(ctx context.Context, c *cli.Context, r *demo.Running) error {
	if c.Bool("json") {
		if err := printJSON(c.App.Writer, r.Result); err != nil {
			return err
		}
	} else if err := r.Result.Write(c.App.Writer); err != nil {
		return err
	}
	if !c.Bool("keep") {
		return nil
	}
	printPlaces(c.App.ErrWriter, r)
	<-ctx.Done()
	return nil
}

func printPlaces(w io.Writer, r *demo.Running) {
	fmt.Fprintf(w, "\neverything runs until you press Ctrl-C; the files are in %s\n  depot       %s\n  origin      %s\n", r.Dir, r.Depot, r.Origin)
	if r.Cache != "" {
		fmt.Fprintf(w, "  cache       %s/content/ROOT\n", r.Cache)
	}
	fmt.Fprint(w, "look at them with a browser on this machine:\n")
	for _, p := range r.Pages {
		fmt.Fprintf(w, "  %-10s  %s  metrics: %s\n", p.Name, p.Page, p.Metrics)
		if p.Control != "" {
			fmt.Fprintf(w, "  %-10s  dunlin status --control %s\n", "", p.Control)
		}
	}
}

// demoOriginCommand is the origin's process; people have no use for it.
func demoOriginCommand() *cli.Command {
	return &cli.Command{
		Name:   "origin",
		Hidden: true,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Required: true},
			&cli.StringFlag{Name: "root", Required: true},
			&cli.Int64Flag{Name: "rate", Required: true},
			&cli.StringFlag{Name: "access-log", Required: true},
		},
		Action: func(c *cli.Context) error {
			cfg := demo.OriginConfig{Listen: c.String("listen"), Root: c.String("root"), Rate: c.Int64("rate"), AccessLog: c.String("access-log")}
			return demo.ServeOrigin(c.Context, cfg, func(addr string) { fmt.Fprintln(c.App.Writer, "listening on", addr) })
		},
	}
}
