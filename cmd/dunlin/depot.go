package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/depot"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

func depotCommand() *cli.Command {
	return &cli.Command{
		Name:  "depot",
		Usage: "the organisation's update server: mirror catalogues, approve updates for rings, serve devices",
		Subcommands: []*cli.Command{
			depotInitCommand(),
			depotPublisherCommand(),
			depotCachesCommand(),
			depotSyncCommand(),
			depotApproveCommand(),
			depotUnapproveCommand(),
			depotListCommand(),
			depotServeCommand(),
			{
				Name: "token", Usage: "what devices join with",
				Subcommands: []*cli.Command{depotTokenCommand()},
			},
			depotRenewCommand(),
		},
	}
}

// depotFlags are the flags that every subcommand has, before its own.
func depotFlags(own ...cli.Flag) []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "dir", Value: depot.DefaultDir, Usage: "the depot's `FOLDER`"},
		&cli.BoolFlag{Name: "json", Usage: "print one JSON object"},
	}, own...)
}

func offlineFlag() cli.Flag {
	return &cli.StringFlag{Name: "offline-keys", Usage: "the `FOLDER` where the offline keys lie now; default: keys/offline in the depot"}
}

// grantFlags say what a publisher may do.
func grantFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "handler", Usage: "allow the publisher this `HANDLER` (file, tree, exec) and no other; may be repeated; default: as before, at first all"},
		&cli.StringSliceFlag{Name: "dest", Usage: "let the publisher install below this `PATH` and nowhere else; may be repeated; default: as before, at first anywhere"},
	}
}

func depotConfig(c *cli.Context) depot.Config {
	return depot.Config{Dir: c.String("dir"), OfflineKeys: c.String("offline-keys"), Log: quietLogger(c)}
}

// quietLogger is for commands that print what they did: they log only what is wrong, unless asked for more.
func quietLogger(c *cli.Context) *slog.Logger {
	if c.Bool("verbose") || c.Bool("log-json") {
		return newLogger(c)
	}
	return slog.New(slog.NewTextHandler(c.App.ErrWriter, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// askDepot carries a request out and tells a person at the terminal how far it is.
func askDepot(c *cli.Context, r *depot.Request) (*depot.Response, error) {
	return depot.Ask(c.Context, depotConfig(c), r, depotProgress(c))
}

func depotProgress(c *cli.Context) func(depot.Progress) {
	if c.Bool("json") || !isTerminal(os.Stderr) {
		return func(depot.Progress) {}
	}
	return func(p depot.Progress) {
		if p.Total == 0 {
			fmt.Fprintf(os.Stderr, "%s\n", p.Step)
			return
		}
		fmt.Fprintf(os.Stderr, "\r\033[K%s: %d of %d MiB", p.Step, p.Done>>20, p.Total>>20)
		if p.Done == p.Total {
			fmt.Fprintln(os.Stderr)
		}
	}
}

// oneArgument returns the only argument of a command.
func oneArgument(c *cli.Context, what string) (string, error) {
	if c.NArg() != 1 {
		return "", fault.WithHint(fault.New(fault.Usage, "%s: %d arguments, want 1", c.Command.FullName(), c.NArg()), "dunlin depot %s %s", c.Command.FullName(), what)
	}
	return c.Args().First(), nil
}

func noArguments(c *cli.Context) error {
	if c.NArg() > 0 {
		return fault.New(fault.Usage, "%s: it takes no argument, but there is %.60q", c.Command.FullName(), c.Args().First())
	}
	return nil
}

// readGrant reads a trust file and what the flags allow the publisher.
func readGrant(c *cli.Context, name string) (depot.Grant, error) {
	f, err := os.Open(name)
	if err != nil {
		return depot.Grant{}, fault.New(fault.Usage, "read trust file: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, metadata.MaxTrustSize+1))
	if err != nil {
		return depot.Grant{}, fault.New(fault.Usage, "read trust file: %w", err)
	}
	trust, err := metadata.ParseTrust(b)
	if err != nil {
		return depot.Grant{}, fmt.Errorf("%s: %w", filepath.Base(name), err)
	}
	return depot.Grant{Trust: trust, Handlers: c.StringSlice("handler"), Destinations: c.StringSlice("dest"), Replace: c.Bool("replace")}, nil
}
