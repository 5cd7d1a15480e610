package main

import (
	"net/netip"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/cachenode"
	"github.com/dunlin-project/dunlin/cachenode/approved"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/store/room"
	"github.com/dunlin-project/dunlin/store/scrub"
)

const (
	// defaultCacheDir is where a cache node keeps its key and its store.
	defaultCacheDir = "/var/lib/dunlin/cache"
	// defaultCacheHTTP is where a cache node serves those who run no agent.
	defaultCacheHTTP = "0.0.0.0:7681"
	// defaultCacheMetrics is beside that of an agent, which may run on the same machine.
	defaultCacheMetrics = "127.0.0.1:9681"
	// defaultCacheConfig is the file with its settings.
	defaultCacheConfig = "/etc/dunlin/cache.yaml"
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
			Description: "Content is at http://THIS:PORT/content/ROOT. What is known is what the organisation has approved for the rings of a node that\n" +
				"has joined one (\"dunlin cache join\"), the metainfo files (*.torrent, as \"dunlin hash\" writes them) in a folder, looked at\n" +
				"every 10 s, and what the store already has. Several who ask for what is not there yet wait for one fetch, and get each piece\n" +
				"as it arrives. Devices find the node as they find each other. Each flag may be a key of the settings file, with _ for - and an\n" +
				"s at the end if it may be repeated.",
			Flags: cacheFlags(append(urlCacheFlags(),
				&cli.StringFlag{Name: "listen", Value: defaultListen, Usage: "`IP:PORT` for other devices; on a loopback address nobody is looked for"},
				&cli.StringFlag{Name: "http", Value: defaultCacheHTTP, Usage: "`IP:PORT` for HTTP, or off"},
				&cli.StringFlag{Name: "metrics", Value: defaultCacheMetrics, Usage: "serve Prometheus metrics on `IP:PORT`, or off"},
				&cli.StringFlag{Name: "content", Usage: "`FOLDER` of the metainfo files; who may write there decides what is fetched from where"},
				cachePageFlag(),
				&cli.DurationFlag{Name: "interval", Value: approved.DefaultInterval, Usage: "`DURATION` between two questions to the depot"},
				&cli.BoolFlag{Name: "prefetch", Usage: "fetch what is approved or in the folder before anybody asks (default: if the node has joined)"},
				&cli.StringFlag{Name: "prefetch-window", Usage: "do so only at these `TIMES` of the day, such as 22:00-06:00 (default: always)"},
				rateFlag("prefetch-rate", "what nobody has asked for"),
				maxSizeFlag(), maxAgeFlag(), scrubFlag(), scrubCycleFlag(),
			)...),
			Action: cacheRun,
		}, {
			Name:      "warm",
			Usage:     "bring the content of updates, URLs or metainfo files into the store, and check what is there",
			ArgsUsage: "PUBLISHER/ID[/VERSION]|FILE.torrent|URL...",
			Description: "An update is one that is approved for a ring of the node. A URL whose path ends in .torrent is that of a metainfo file; any other one\n" +
				"is content of the catalogue, or a file that is then served by its URL, of an origin that is allowed (--allow-origin). It works\n" +
				"beside \"cache run\" on the same folder, which serves what is stored from then on, and which brings files by their URL itself, with\n" +
				"its own settings; but not for content that it is fetching at that moment.",
			Flags: cacheFlags(append(urlCacheFlags(),
				&cli.StringFlag{Name: "listen", Usage: "`IP:PORT` for other devices (default: none, they are only asked)"},
				&cli.StringFlag{Name: "content", Usage: "`FOLDER` of the metainfo files, for URLs that they name"},
			)...),
			Action: cacheWarm,
		}, cacheJoinCommand()}, append(cacheStoreCommands(), cacheBundleCommands()...)...),
	}
}

// cacheFlags are the flags of both, and those of one.
func cacheFlags(own ...cli.Flag) []cli.Flag {
	own = append(own,
		&cli.StringFlag{Name: "config", Value: defaultCacheConfig, Usage: "read settings from `FILE`; flags go before it"},
		&cli.StringFlag{Name: "dir", Value: defaultCacheDir, Usage: "private `FOLDER` of the node: its key and its store"},
		&cli.StringFlag{Name: "reserve", Value: defaultReserve, Usage: "`SIZE` that stays free on the disk"},
		&cli.StringSliceFlag{Name: "origin", Usage: "content is also at `URL`/content/ROOT; may be repeated"},
		&cli.StringSliceFlag{Name: "peer", Usage: "`MULTIADDR` of a device to ask, with its id; may be repeated"},
		&cli.StringSliceFlag{Name: "ring", Usage: "follow the approvals of the ring `NAME`; may be repeated (default: as joined)"},
		&cli.StringSliceFlag{Name: "group", Usage: "`NAME` of a group to share with; may be repeated (default: as joined, else what the organisation has signed, else lan)"},
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
	ahead    cachenode.Prefetch
	reserve  int64
	room     room.Limits
	scrub    scrub.Config
	origins  []string
	peers    []string
	groups   []string
	urls     urlCacheOptions
	cacheFollow
	transferLimits
}

// store is where the content lies: as on a device, below the folder.
func (o cacheOptions) store() string { return filepath.Join(o.dir, "content") }

func (o cacheOptions) lock() string { return filepath.Join(o.dir, "lock") }

func cacheOptionsOf(c *cli.Context) (opt cacheOptions, err error) {
	name := c.Command.FullName()
	if err := cacheSettings(c); err != nil {
		return opt, err
	}
	opt = cacheOptions{
		dir: c.String("dir"), content: c.String("content"), prefetch: c.Bool("prefetch"),
		origins: c.StringSlice("origin"), peers: c.StringSlice("peer"), groups: c.StringSlice("group"),
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
	if err := opt.follow(c); err != nil {
		return opt, err
	}
	switch {
	case slices.Contains(opt.groups, ""):
		return opt, fault.New(fault.Usage, "%s: --group: the name is empty", name)
	case opt.prefetch && opt.content == "" && !opt.joined:
		return opt, fault.New(fault.Usage, "%s: --prefetch: there is no folder of metainfo files; name it with --content", name)
	}
	if opt.urls, err = urlCacheOptionsOf(c, opt.dir); err != nil {
		return opt, err
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
	if opt.ahead, err = prefetchOf(c, opt.prefetch); err != nil {
		return opt, err
	}
	opt.transferLimits, err = limitsOf(c)
	return opt, err
}
