package main

import (
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/internal/demo"
	"github.com/dunlin-project/dunlin/internal/fault"
)

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
			&cli.BoolFlag{Name: "keep", Usage: "leave everything running until interrupted, and say where it is"},
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
	o := demo.Options{Program: program, File: c.String("file"), Devices: c.Int("devices"), Dir: dir, Log: c.App.ErrWriter}
	o.Ready = func(r *demo.Running) error { return demoReady(c, r) }
	_, err = demo.Run(c.Context, o)
	return err
}

// demoReady prints what came of it; with --keep it then waits to be interrupted.
func demoReady(c *cli.Context, r *demo.Running) error {
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
	<-c.Context.Done()
	return nil
}

func printPlaces(w io.Writer, r *demo.Running) {
	fmt.Fprintf(w, "\neverything runs until you press Ctrl-C; the files are in %s\n  depot   %s\n  origin  %s\n", r.Dir, r.Depot, r.Origin)
	for i, d := range r.Result.Devices {
		fmt.Fprintf(w, "  %s  metrics http://%s:9680/metrics, status: dunlin status --control %s\n", d.Name, d.Addr, r.Controls[i])
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
