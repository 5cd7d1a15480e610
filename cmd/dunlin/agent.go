package main

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/agent"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/swarm"
)

func agentCommand() *cli.Command {
	return &cli.Command{
		Name:  "agent",
		Usage: "keep this device up to date",
		Subcommands: []*cli.Command{{
			Name:   "run",
			Usage:  "ask what is approved, fetch, verify, install; again and again until stopped",
			Flags:  agentFlags(),
			Action: agentRun,
		}},
	}
}

// agentFlags has a flag for each setting that people change for one run; the file has them all.
func agentFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "once", Usage: "go through one cycle and end; the worst job decides the exit code"},
		&cli.BoolFlag{Name: "json", Usage: "with --once: print the status at the end as one JSON object"},
		&cli.StringFlag{Name: "config", Usage: "read the settings from `FILE`; the flags below go before it", Value: agent.DefaultConfigFile},
		&cli.StringFlag{Name: "state-dir", Usage: "the agent's private folder (`DIR`)"},
		&cli.StringSliceFlag{Name: "depot", Usage: "ask the depot at `URL`; may be repeated"},
		&cli.StringSliceFlag{Name: "content", Usage: "content is also at `URL`/content/ROOT; may be repeated"},
		&cli.StringFlag{Name: "ring", Usage: "the device's ring (`NAME`)"},
		&cli.StringFlag{Name: "group", Usage: "exchange content in the group `NAME`"},
		&cli.StringFlag{Name: "sharing", Usage: "lan or off (`WORD`)"},
		&cli.StringSliceFlag{Name: "listen", Usage: "serve other devices on `IP:PORT`; may be repeated"},
		&cli.StringSliceFlag{Name: "peer", Usage: "connect to the device at `MULTIADDR` (.../p2p/ID); may be repeated"},
		&cli.StringFlag{Name: "discovery", Usage: "look for devices on the local network: on or off (`WORD`)"},
		&cli.StringSliceFlag{Name: "cache-host", Usage: "ask the LAN caching node at `URL` by HTTP first; may be repeated"},
		&cli.StringFlag{Name: "cache-host-source", Usage: "which caching nodes are asked by HTTP: auto, static, lan, depot or off (`WORD`)"},
		&cli.StringFlag{Name: "interval", Usage: "`DURATION` between two cycles"},
		&cli.StringSliceFlag{Name: "label", Usage: "a fact of this device, `NAME=VALUE`; may be repeated"},
		&cli.StringFlag{Name: "root", Usage: "put `DIR` before every destination"},
		&cli.StringFlag{Name: "metrics", Usage: "serve Prometheus metrics on `IP:PORT`, or off"},
		&cli.StringFlag{Name: "page", Usage: "serve the device's own page on `IP:PORT` of a loopback address, or off"},
		&cli.StringFlag{Name: "control", Usage: "answer dunlin status on the socket `PATH`, or off"},
	}
}

func agentRun(c *cli.Context) error {
	if c.NArg() > 0 {
		return fault.New(fault.Usage, "agent run: %q is one argument too many", c.Args().First())
	}
	cfg, err := agentConfig(c)
	if err != nil {
		return err
	}
	log, registry := newLogger(c), prometheus.NewRegistry()
	caches, err := agent.CacheHosts(cfg, buildVersion(), log)
	if err != nil {
		return err
	}
	opt := agent.Options{
		OpenSwarm: openSwarm(cfg, caches, registry, log), Caches: caches, Gatherer: registry, Version: buildVersion(), Log: log,
	}
	if caches != nil {
		defer caches.Close()
		opt.FindCaches = func(ctx context.Context, group string) { swarm.FindCaches(ctx, group, caches.Found, log) }
	}
	a, err := agent.New(cfg, opt)
	if err != nil {
		return err
	}
	registry.MustRegister(a.Metrics()...)
	if !c.Bool("once") {
		return a.Run(c.Context)
	}
	err = a.Once(c.Context)
	return errors.Join(err, showOnce(c, a))
}

func showOnce(c *cli.Context, a *agent.Agent) error {
	s := a.Status()
	if c.Bool("json") {
		return printJSON(c.App.Writer, s)
	}
	return s.Write(c.App.Writer, time.Now())
}

// agentConfig puts the flags over the file. The default file may be missing when flags say everything.
func agentConfig(c *cli.Context) (agent.Config, error) {
	cfg, err := agent.ReadConfig(c.String("config"))
	if err != nil && (c.IsSet("config") || !c.IsSet("depot") || !errors.Is(err, fs.ErrNotExist)) {
		return cfg, err
	}
	for name, field := range map[string]*string{
		"state-dir": &cfg.StateDir, "ring": &cfg.Ring, "group": &cfg.Group, "metrics": &cfg.Metrics, "root": &cfg.Root, "page": &cfg.Page,
		"control": &cfg.Control, "sharing": (*string)(&cfg.Sharing), "discovery": (*string)(&cfg.Discovery),
		"cache-host-source": (*string)(&cfg.CacheHostSource),
	} {
		if c.IsSet(name) {
			*field = c.String(name)
		}
	}
	for name, field := range map[string]*[]string{
		"depot": &cfg.Depots, "content": &cfg.Content, "listen": &cfg.Listen, "peer": &cfg.Peers,
		"cache-host": &cfg.CacheHosts,
	} {
		if c.IsSet(name) {
			*field = c.StringSlice(name)
		}
	}
	if c.IsSet("interval") {
		if cfg.Interval, err = agent.ParseDuration(c.String("interval")); err != nil {
			return cfg, fault.New(fault.Usage, "agent run: --interval: %w", err)
		}
	}
	return cfg, addLabels(&cfg, c.StringSlice("label"))
}

func addLabels(cfg *agent.Config, labels []string) error {
	for _, l := range labels {
		name, value, ok := strings.Cut(l, "=")
		if !ok {
			return fault.New(fault.Usage, "agent run: --label %q: want NAME=VALUE", l)
		}
		if cfg.Labels == nil {
			cfg.Labels = make(map[string]agent.Label)
		}
		cfg.Labels[name] = agent.Label(value)
	}
	return nil
}
