// Command dunlin is the whole of Dunlin in one binary: the device agent, the depot, the publisher's tools and the
// engine alone. Each subcommand has a file of its own that turns flags into a Config and runs the part; this is the
// only place where the parts meet. It trusts what each part says it trusts. Start reading at commands.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/internal/fault"
)

func main() { os.Exit(run(os.Args)) }

// run is main without the exit, so that tests can call the command as users type it.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	app := newApp()
	return report(os.Stderr, app.RunContext(ctx, flagsFirst(app, args)))
}

func newApp() *cli.App {
	return &cli.App{
		Name:                   "dunlin",
		Usage:                  "deliver updates to a fleet: the site pays for each byte once, nobody in the middle can install anything",
		UseShortOptionHandling: true,
		HideVersion:            true,
		// A comma is a character of URLs and addresses, not the end of one.
		DisableSliceFlagSeparator: true,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "log details"},
			&cli.BoolFlag{Name: "log-json", Usage: "log as JSON, one record a line"},
		},
		Commands:       withUsage(commands()),
		OnUsageError:   wrongUsage,
		ExitErrHandler: func(*cli.Context, error) {},
	}
}

func wrongUsage(_ *cli.Context, err error, _ bool) error { return fault.Wrap(fault.Usage, err) }

// withUsage gives every command the answer to wrong usage; the library does not hand it down.
func withUsage(commands []*cli.Command) []*cli.Command {
	for _, c := range commands {
		c.OnUsageError = wrongUsage
		withUsage(c.Subcommands)
	}
	return commands
}

func commands() []*cli.Command {
	return []*cli.Command{
		agentCommand(),
		cacheCommand(),
		demoCommand(),
		depotCommand(),
		getCommand(),
		hashCommand(),
		joinCommand(),
		publishCommand(),
		statusCommand(),
		versionCommand(),
	}
}
