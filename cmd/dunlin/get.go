package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/httpfallback/cachehost"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/swarm"
)

// defaultListen takes peers' connections on every address of the machine.
const defaultListen = "0.0.0.0:7680"

func getCommand() *cli.Command {
	return &cli.Command{
		Name:      "get",
		Usage:     "fetch one file from the origins of its metainfo file and from devices near by",
		ArgsUsage: "FILE.torrent|URL",
		Description: "FILE.torrent is a BitTorrent v2 or hybrid metainfo file about one file, as \"dunlin hash\" writes it; URL is where one lies.\n" +
			"The file appears under its own name when it is whole and checked. What is there of an earlier run is kept; a file that is\n" +
			"there already is checked, and with --seed served.\n" +
			"A RATE is in bytes of content a second: 500k, 1M, 10MiB (k, M, G are powers of 1024; kB, MB, GB of 1000). It holds within\n" +
			"5 % over any few seconds; 64 KiB may be sent at once.\n" +
			"With -v it shows every 10 s and at the end what each source gave, and why no more is asked of it.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: ".", Usage: "`FOLDER` for the file"},
			&cli.StringFlag{Name: "listen", Value: defaultListen, Usage: "`IP:PORT` for other devices; on a loopback address nobody is looked for"},
			&cli.StringSliceFlag{Name: "peer", Usage: "`MULTIADDR` of a device to ask, with its id; may be repeated"},
			&cli.StringSliceFlag{Name: "cache", Usage: "ask the LAN caching node at `URL` by HTTP before the origins; may be repeated"},
			&cli.StringFlag{Name: "cache-source", Usage: "which caching nodes are asked by HTTP: auto, static (those of --cache), lan (those that announce themselves) or off (`WORD`)"},
			&cli.DurationFlag{Name: "seed", Usage: "go on serving for this `DURATION` (90s, 12h) after the file is there"},
			&cli.StringFlag{Name: "start-at", Usage: "look for other devices now, and begin to fetch at this `TIME`: 2026-12-01T22:00:00+01:00, as \"date -Is -d 22:00\" prints it"},
			&cli.BoolFlag{Name: "sha256", Usage: "compute and print the SHA-256 of the whole file, also where the metainfo does not name it"},
			&cli.StringFlag{Name: "group", Value: swarm.DefaultGroup, Usage: "`NAME` of the group to share with"},
			&cli.BoolFlag{Name: "json", Usage: "print events, one object a line"},
		}, limitFlags()...),
		Action: func(c *cli.Context) error {
			opt, err := getOptionsOf(c)
			if err != nil {
				return fault.WithHint(err, "dunlin get --help")
			}
			view := newGetView(c.App.Writer, os.Stderr, c.Bool("json"))
			if c.Bool("verbose") {
				opt.watch = everyNow(sourcesEvery, view.(sourceView).sources)
			}
			return runGet(c.Context, opt, view, quiet(newLogger(c), c.Bool("verbose")))
		},
	}
}

// getOptions is what the command line says.
type getOptions struct {
	source string // of the metainfo: a file or a URL
	dir    string
	listen netip.AddrPort
	peers  []string
	caches cachehost.Config
	seed   time.Duration
	at     time.Time // when fetching begins; zero or past: at once
	group  string
	sum    bool             // print the SHA-256 of the whole file
	watch  func(fetch.View) // nil: nobody looks
	transferLimits
}

func getOptionsOf(c *cli.Context) (opt getOptions, err error) {
	opt = getOptions{
		source: c.Args().First(),
		dir:    c.String("output"),
		peers:  c.StringSlice("peer"),
		sum:    c.Bool("sha256"),
		seed:   c.Duration("seed"),
		group:  c.String("group"),
		caches: cachehost.Config{Static: c.StringSlice("cache"), Shares: true, UserAgent: "dunlin/" + buildVersion()},
	}
	if c.NArg() != 1 {
		return opt, fault.New(fault.Usage, "get: want one metainfo file or URL, got %d arguments", c.NArg())
	}
	if opt.listen, err = netip.ParseAddrPort(c.String("listen")); err != nil {
		return opt, fault.New(fault.Usage, "get: --listen: %w", err)
	}
	if opt.seed < 0 {
		return opt, fault.New(fault.Usage, "get: --seed: %v is negative", opt.seed)
	}
	if c.IsSet("start-at") {
		if opt.at, err = time.Parse(time.RFC3339, c.String("start-at")); err != nil {
			return opt, fault.New(fault.Usage, "get: --start-at: %q is no time such as 2026-12-01T22:00:00+01:00", c.String("start-at"))
		}
	}
	if opt.group == "" {
		return opt, fault.New(fault.Usage, "get: --group: the name is empty")
	}
	if opt.caches.Source, err = cachehost.ParseSource(c.String("cache-source")); err != nil {
		return opt, fault.New(fault.Usage, "get: --cache-source: %w", err)
	}
	opt.transferLimits, err = limitsOf(c)
	return opt, err
}

// parseSize reads a number of bytes from 1 on: digits and one of k M G, KiB MiB GiB (powers of 1024), kB MB GB (powers of
// 1000), or B. There are no fractions and no spaces.
func parseSize(s string) (int64, error) {
	digits := 0
	for digits < len(s) && s[digits] >= '0' && s[digits] <= '9' {
		digits++
	}
	unit, ok := sizeUnit(s[digits:])
	if !ok || digits == 0 {
		return 0, fmt.Errorf("%q is no size such as 500000, 500k, 1M, 10MiB or 10MB", s)
	}
	n := int64(0)
	for _, d := range []byte(s[:digits]) {
		if n = n*10 + int64(d-'0'); n > maxSize/unit {
			return 0, fmt.Errorf("%q is more than %d bytes", s, int64(maxSize))
		}
	}
	if n == 0 {
		return 0, errors.New("0 would let nothing through; leave it out for no limit")
	}
	return n * unit, nil
}

// maxSize bounds a size on the command line, in bytes: 1 TiB.
const maxSize = 1 << 40

func sizeUnit(s string) (bytes int64, ok bool) {
	switch s {
	case "", "B":
		return 1, true
	case "k", "K", "KiB":
		return 1 << 10, true
	case "M", "MiB":
		return 1 << 20, true
	case "G", "GiB":
		return 1 << 30, true
	case "kB":
		return 1e3, true
	case "MB":
		return 1e6, true
	case "GB":
		return 1e9, true
	}
	return 0, false
}
