package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store"
	"github.com/dunlin-project/dunlin/store/bundle"
)

// cacheBundleCommands move contents from store to store in one file.
func cacheBundleCommands() []*cli.Command {
	return []*cli.Command{{
		Name:      "export",
		Usage:     "write content of the store into one file, for a site that gets its first copy on a disk",
		ArgsUsage: "FILE|- [ROOT|NAME|FILE.torrent...]",
		Description: "Without roots all that is whole. FILE is a tar of metainfo files and of what they describe (docs/bundle.md); until it is\n" +
			"whole it is FILE.part, and the same command goes on where one that was killed has stopped. With - it goes to the standard output.",
		Flags:  storeFlags(),
		Action: cacheExport,
	}, {
		Name:      "import",
		Usage:     "take the content of such a file into the store",
		ArgsUsage: "FILE|-",
		Description: "Every piece is checked. The same command goes on where one that was killed has stopped. It works beside a node that runs, and\n" +
			"makes no room: what does not fit beside --reserve ends it.",
		Flags: append(storeFlags(),
			&cli.StringFlag{Name: "reserve", Value: defaultReserve, Usage: "`SIZE` that stays free on the disk"}),
		Action: cacheImport,
	}}
}

const stdio = "-"

func cacheExport(c *cli.Context) error {
	if c.NArg() == 0 {
		return fault.WithHint(fault.New(fault.Usage, "%s: want a file, or - for the standard output", c.Command.FullName()), "dunlin cache export --help")
	}
	s, err := openCacheStore(c)
	if err != nil {
		return err
	}
	var roots []piecehash.Root
	if c.NArg() == 1 {
		roots, err = s.Roots()
	} else {
		roots, err = rootsMeant(c, c.Args().Slice()[1:])
	}
	if err != nil {
		return err
	}
	file, view := c.Args().First(), bundleView{out: c.App.Writer, err: c.App.ErrWriter, json: c.Bool("json")}
	var p bundle.Progress
	if file == stdio {
		if isTerminal(os.Stdout) {
			return fault.New(fault.Usage, "%s: the standard output is a terminal", c.Command.FullName())
		}
		view.out = c.App.ErrWriter
		p, err = bundle.Export(c.Context, c.App.Writer, s, roots, view.progress)
	} else {
		p, err = bundle.File(c.Context, file, s, roots, view.progress)
	}
	return view.ended("exported", file, p, err)
}

func cacheImport(c *cli.Context) error {
	if c.NArg() != 1 {
		return fault.WithHint(fault.New(fault.Usage, "%s: want one file, or - for the standard input", c.Command.FullName()), "dunlin cache import --help")
	}
	opt := cacheOptions{dir: c.String("dir")}
	reserve, err := parseSize(c.String("reserve"))
	if err != nil {
		return fault.New(fault.Usage, "%s: --reserve: %w", c.Command.FullName(), err)
	}
	if err := makeCacheFolder(opt.dir); err != nil {
		return err
	}
	s, err := store.Open(opt.store(), store.Options{Reserve: reserve, Log: quiet(newLogger(c), c.Bool("verbose"))})
	if err != nil {
		return err
	}
	var r io.Reader = c.App.Reader
	file := c.Args().First()
	if file != stdio {
		f, err := os.Open(file)
		if err != nil {
			return fault.New(fault.Usage, "%s: %w", c.Command.FullName(), err)
		}
		defer f.Close()
		r = f
	}
	view := bundleView{out: c.App.Writer, err: c.App.ErrWriter, json: c.Bool("json")}
	p, err := bundle.Import(c.Context, r, s, view.progress)
	if err == nil && p.Busy > 0 {
		err = fault.WithHint(fault.New(fault.Unavailable, "import: %d contents were left to another process, which is fetching them", p.Busy),
			"when it is done, or has ended, run the same command again")
	}
	return view.ended("imported", file, p, err)
}

// bundleView prints how an export or import goes.
type bundleView struct {
	out, err io.Writer
	json     bool
}

// bundleEvent is a line of "dunlin cache export --json" and of "import --json".
type bundleEvent struct {
	Event string `json:"event"` // progress, exported, imported
	File  string `json:"file,omitempty"`
	bundle.Progress
}

func (v bundleView) progress(p bundle.Progress) {
	if v.json {
		_ = printJSON(v.out, bundleEvent{Event: "progress", Progress: p})
		return
	}
	fmt.Fprintf(v.err, "%3d%% of %s, %d of %d contents\n", 100*p.Bytes/max(p.Total, 1), sizeText(p.Total), p.Contents, p.Of)
}

func (v bundleView) ended(word, file string, p bundle.Progress, err error) error {
	if errors.Is(err, context.Canceled) {
		return interrupted(err)
	}
	if err != nil {
		return err
	}
	if v.json {
		return printJSON(v.out, bundleEvent{word, file, p})
	}
	_, err = fmt.Fprintf(v.out, "%s %d contents, %s; %d of them were there already\n", word, p.Contents, sizeText(p.Total), p.There)
	return err
}
