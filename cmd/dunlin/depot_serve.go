package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/depot"
	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
)

func depotServeCommand() *cli.Command {
	return &cli.Command{
		Name: "serve", Usage: "serve devices until stopped; sign and renew what is due",
		Flags: depotFlags(
			&cli.StringFlag{Name: "listen", Usage: "`ADDRESS` for metadata, instead of the one from init"},
			&cli.StringFlag{Name: "content-listen", Usage: "`ADDRESS` for content, instead of the one from init"},
			&cli.StringFlag{Name: "access-log", Usage: "append each answer with its body bytes to `FILE`, one JSON object a line"},
			&cli.DurationFlag{Name: "sync-every", Value: depot.DefaultSyncEvery, Usage: "how often to mirror the catalogues; 0: never"},
		),
		Action: depotServe,
	}
}

func depotServe(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	where := depotConfig(c)
	where.Log = newLogger(c)
	d, err := depot.Open(where)
	if err != nil {
		return err
	}
	conf := depot.ServeConfig{
		Listen: c.String("listen"), ContentListen: c.String("content-listen"), SyncEvery: c.Duration("sync-every"),
		Ready: func(r depot.Ready) { printReady(c, r) },
	}
	if conf.SyncEvery == 0 {
		conf.SyncEvery = -1
	}
	if name := c.String("access-log"); name != "" {
		if conf.AccessLog, err = depot.OpenAccessLog(name); err != nil {
			return err
		}
		defer conf.AccessLog.Close()
	}
	return depot.NewServer(d, conf).Run(c.Context)
}

func printReady(c *cli.Context, r depot.Ready) {
	if c.Bool("json") {
		_ = printJSON(c.App.Writer, struct {
			Event string `json:"event"`
			depot.Ready
		}{"ready", r})
		return
	}
	fmt.Fprintf(c.App.Writer, "serving %s on %s and %s on %s\n", r.URL, r.Listen, r.ContentURL, r.ContentListen)
	for _, t := range r.Tokens {
		fmt.Fprintf(c.App.Writer, "\nto join ring %s, on the device:\n  %s\n", t.Ring, t.Line)
	}
}

func depotTokenCommand() *cli.Command {
	return &cli.Command{
		Name: "create", Usage: "print the line that a device joins with",
		Flags: depotFlags(
			&cli.StringFlag{Name: "ring", Usage: "the device's `RING`; default: the depot's first"},
			&cli.StringFlag{Name: "file", Usage: "write the token to `FILE` instead, for `dunlin join FILE`"},
		),
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			r, err := askDepot(c, &depot.Request{Token: &depot.TokenRequest{Ring: c.String("ring")}})
			if err != nil {
				return err
			}
			if name := c.String("file"); name != "" {
				if err := writeToken(name, r.Token.Token); err != nil {
					return err
				}
			}
			switch {
			case c.Bool("json"):
				return printJSON(c.App.Writer, r.Token)
			case c.String("file") != "":
				_, err = fmt.Fprintf(c.App.Writer, "wrote a token for ring %s to %s\n", r.Token.Ring, c.String("file"))
			default:
				_, err = fmt.Fprintln(c.App.Writer, r.Token.Line)
			}
			return err
		},
	}
}

// writeToken keeps a token for one person's eyes, as one day there will be a secret in it.
func writeToken(name, token string) error {
	if err := durable.WriteFile(name, []byte(token+"\n"), 0o600); err != nil {
		return fault.WithHint(fault.New(fault.Usage, "write token: %w", err), "name a file in a folder that you can write to")
	}
	return nil
}
