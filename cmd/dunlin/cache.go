package main

import (
	"net/netip"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/store/room"
	"github.com/dunlin-project/dunlin/store/scrub"
	"github.com/dunlin-project/dunlin/swarm"
)

const (
	// defaultCacheDir is where a cache node keeps its key and its store.
	defaultCacheDir = "/var/lib/dunlin/cache"
	// defaultCacheHTTP is where a cache node serves those who run no agent.
	defaultCacheHTTP = "0.0.0.0:7681"
	// defaultCacheMetrics is beside that of an agent, which may run on the same machine.
	defaultCacheMetrics = "127.0.0.1:9681"
	// defaultReserve is what a cache node leaves free on the disk.
	defaultReserve = "1G"
)

func cacheCommand() *cli.Command {
	return &cli.Command{
		Name:  "cache",
		Usage: "keep content for a site on a machine that is always on",
		Subcommands: append([]*cli.Command{{
			Name:  "run",
			Usage: "serve content to devices, and by HTTP to everybody; fetch what is asked for and missing",
			Description: "Content is at http://THIS:PORT/content/ROOT. What is known are the metainfo files (*.torrent, as \"dunlin hash\" writes\n" +
				"them) in a folder, looked at every 10 s, and what the store already has. Several who ask for what is not there yet wait for\n" +
				"one fetch, and get each piece as it arrives. Devices find the node as they find each other.",
			Flags: cacheFlags(
				&cli.StringFlag{Name: "listen", Value: defaultListen, Usage: "`IP:PORT` for other devices; on a loopback address nobody is looked for"},
				&cli.StringFlag{Name: "http", Value: defaultCacheHTTP, Usage: "`IP:PORT` for HTTP, or off"},
				&cli.StringFlag{Name: "metrics", Value: defaultCacheMetrics, Usage: "serve Prometheus metrics on `IP:PORT`, or off"},
				&cli.StringFlag{Name: "content", Usage: "`FOLDER` of the metainfo files; who may write there decides what is fetched from where"},
				&cli.BoolFlag{Name: "prefetch", Usage: "fetch what is in the folder before anybody asks"},
				maxSizeFlag(), maxAgeFlag(), scrubFlag(), scrubCycleFlag(),
			),
			Action: cacheRun,
		}, {
			Name:      "warm",
			Usage:     "bring the content of metainfo files into the store, and check what is there",
			ArgsUsage: "FILE.torrent|URL...",
			Description: "URL is where a metainfo file lies. It works beside \"cache run\" on the same folder, which serves what is stored from then on; but not for content that it is\n" +
				"fetching at that moment.",
			Flags: cacheFlags(
				&cli.StringFlag{Name: "listen", Usage: "`IP:PORT` for other devices (default: none, they are only asked)"},
			),
			Action: cacheWarm,
		}}, append(cacheStoreCommands(), cacheBundleCommands()...)...),
	}
}

// cacheFlags are the flags of both, and those of one.
func cacheFlags(own ...cli.Flag) []cli.Flag {
	own = append(own,
		&cli.StringFlag{Name: "dir", Value: defaultCacheDir, Usage: "private `FOLDER` of the node: its key and its store"},
		&cli.StringFlag{Name: "reserve", Value: defaultReserve, Usage: "`SIZE` that stays free on the disk"},
		&cli.StringSliceFlag{Name: "origin", Usage: "content is also at `URL`/content/ROOT; may be repeated"},
		&cli.StringSliceFlag{Name: "peer", Usage: "`MULTIADDR` of a device to ask, with its id; may be repeated"},
		&cli.StringFlag{Name: "group", Value: swarm.DefaultGroup, Usage: "`NAME` of the group to share with"},
		&cli.BoolFlag{Name: "json", Usage: "print events, one object a line"},
	)
	return append(own, limitFlags()...)
}

// cacheOptions is what the command line says.
type cacheOptions struct {
	dir      string
	listen   []netip.AddrPort // none: this node is not found, and only asks
	http     string           // "": none
	metrics  string           // "": none
	insist   bool             // that address for metrics, or nothing
	content  string           // "": no folder
	prefetch bool
	reserve  int64
	room     room.Limits
	scrub    scrub.Config
	origins  []string
	peers    []string
	group    string
	transferLimits
}

// store is where the content lies: as on a device, below the folder.
func (o cacheOptions) store() string { return filepath.Join(o.dir, "content") }

func (o cacheOptions) lock() string { return filepath.Join(o.dir, "lock") }

func cacheOptionsOf(c *cli.Context) (opt cacheOptions, err error) {
	name := c.Command.FullName()
	opt = cacheOptions{
		dir: c.String("dir"), content: c.String("content"), prefetch: c.Bool("prefetch"),
		origins: c.StringSlice("origin"), peers: c.StringSlice("peer"), group: c.String("group"),
	}
	if opt.http = c.String("http"); opt.http == "off" {
		opt.http = ""
	}
	if opt.http != "" {
		if _, err := netip.ParseAddrPort(opt.http); err != nil {
			return opt, fault.New(fault.Usage, "%s: --http: %w", name, err)
		}
	}
	if opt.metrics, opt.insist = c.String("metrics"), c.IsSet("metrics"); opt.metrics == "off" {
		opt.metrics = ""
	}
	if opt.metrics != "" {
		if _, err := netip.ParseAddrPort(opt.metrics); err != nil {
			return opt, fault.New(fault.Usage, "%s: --metrics: %w", name, err)
		}
	}
	if listen := c.String("listen"); listen != "" {
		addr, err := netip.ParseAddrPort(listen)
		if err != nil {
			return opt, fault.New(fault.Usage, "%s: --listen: %w", name, err)
		}
		opt.listen = []netip.AddrPort{addr}
	}
	switch {
	case opt.group == "":
		return opt, fault.New(fault.Usage, "%s: --group: the name is empty", name)
	case opt.prefetch && opt.content == "":
		return opt, fault.New(fault.Usage, "%s: --prefetch: there is no folder of metainfo files; name it with --content", name)
	}
	if opt.reserve, err = parseSize(c.String("reserve")); err != nil {
		return opt, fault.New(fault.Usage, "%s: --reserve: %w", name, err)
	}
	if opt.room, err = roomOf(c, opt.reserve); err != nil {
		return opt, err
	}
	if opt.scrub, err = scrubOf(c); err != nil {
		return opt, err
	}
	opt.transferLimits, err = limitsOf(c)
	return opt, err
}
