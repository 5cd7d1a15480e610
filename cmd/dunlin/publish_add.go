package main

import (
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/publish"
)

func publishAddCommand() *cli.Command {
	return &cli.Command{
		Name:      "add",
		Usage:     "take a payload in, sign it and stage its update for the next release",
		ArgsUsage: "DIR FILE",
		Description: "Copies FILE into DIR/public/content, hashes and signs it (minisign) with the payload key, which needs the\n" +
			"passphrase. Devices see the update only after `dunlin publish release`, or with --release at once.",
		Flags: publishFlags(append(publishDecisionFlags(), publishInstallFlags()...)...),
		Action: func(c *cli.Context) error {
			args, err := publishArgs(c)
			if err != nil {
				return err
			}
			return publishAdd(c, args[0], args[1])
		},
	}
}

func publishAdd(c *cli.Context, dir, file string) error {
	update, err := publishUpdate(c)
	if err != nil {
		return err
	}
	p, err := openPublisher(c, dir)
	if err != nil {
		return err
	}
	request := publish.AddRequest{File: file, Update: update, Requires: listOf(c, "requires")}
	if isTerminal(os.Stderr) && !c.Bool("json") {
		request.Progress = publishBar()
	}
	added, err := p.Add(c.Context, request, time.Now())
	if err != nil {
		return err
	}
	out := struct {
		*publish.Added
		Released *publish.Released `json:"released,omitempty"`
	}{Added: added}
	if c.Bool("release") {
		released, err := p.Release(c.Context, time.Now(), false)
		if err != nil {
			return fault.WithHint(err, "%s is staged; when the cause is gone: dunlin publish release %s", added.Path, dir)
		}
		out.Released = &released
	}
	return output(c, out, func(w *tabwriter.Writer) { printAdded(w, added, out.Released, dir) })
}

func printAdded(w *tabwriter.Writer, a *publish.Added, released *publish.Released, dir string) {
	fmt.Fprintf(w, "update\t%s/%s@%s\trelease %d\n", a.Publisher, a.ID, a.Version, a.Release)
	fmt.Fprintf(w, "root\t%v\nsha256\t%v\nlength\t%d bytes\n", a.Root, a.SHA256, a.Length)
	fmt.Fprintf(w, "signed by\t%s\tminisign -V -p %s/payload.pub -x %s.minisig -m FILE\n", a.KeyID, dir, a.Content)
	if released == nil {
		fmt.Fprintf(w, "staged\tdevices see it after: dunlin publish release %s\n", dir)
		return
	}
	fmt.Fprintf(w, "released\t%s\n", orNone(released.Added))
}

// publishBar shows one bar for each phase.
func publishBar() publish.Progress {
	var bar *progressbar.ProgressBar
	var current publish.Phase
	return func(phase publish.Phase, done, total int64) {
		if phase != current {
			current = phase
			bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription(string(phase)),
				progressbar.OptionShowBytes(true), progressbar.OptionUseIECUnits(true), progressbar.OptionThrottle(100*time.Millisecond),
				progressbar.OptionClearOnFinish(), progressbar.OptionFullWidth())
		}
		_ = bar.Set64(done)
	}
}
