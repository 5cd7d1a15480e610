package main

import (
	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// transferLimits are what is not to be exceeded. Rates are in bytes per second; 0 is no limit, or the default.
type transferLimits struct {
	download, origin, lan, cache, upload int64
	connections, streams                 int
	memory                               int64
}

// minMemory is the least of --max-memory, in bytes: less would not hold the pieces that are under way.
const minMemory = 20 << 20

// limitFlags are the flags of whatever fetches and shares content.
func limitFlags() []cli.Flag {
	return []cli.Flag{
		rateFlag("max-download", "all that is fetched, from wherever it comes", "limit"),
		rateFlag("max-origin", "what comes from the origins"),
		rateFlag("max-lan", "what comes from other devices"),
		rateFlag("max-cache", "what comes from LAN caching nodes"),
		rateFlag("max-upload", "what is sent to other devices"),
		&cli.IntFlag{Name: "max-connections", Usage: "`NUMBER` of other devices that may be connected at once (default: 256)"},
		&cli.IntFlag{Name: "max-streams", Usage: "`NUMBER` of requests to origins that may be under way at once (default: 8)"},
		&cli.StringFlag{Name: "max-memory", Usage: "`SIZE` of what other devices may fill: a fifth with what they are sent; from 20MiB on (default: 80MiB)"},
	}
}

func rateFlag(name, what string, aliases ...string) cli.Flag {
	return &cli.StringFlag{Name: name, Aliases: aliases, Usage: "`RATE` of " + what + ", at most"}
}

func limitsOf(c *cli.Context) (l transferLimits, err error) {
	for name, field := range map[string]*int64{
		"max-download": &l.download, "max-origin": &l.origin, "max-lan": &l.lan, "max-cache": &l.cache, "max-upload": &l.upload,
		"max-memory": &l.memory,
	} {
		if !c.IsSet(name) {
			continue
		}
		if *field, err = parseSize(c.String(name)); err != nil {
			return l, fault.New(fault.Usage, "%s: --%s: %w", c.Command.FullName(), name, err)
		}
	}
	if l.memory > 0 && l.memory < minMemory {
		return l, fault.New(fault.Usage, "%s: --max-memory: %d bytes are less than %d", c.Command.FullName(), l.memory, minMemory)
	}
	for name, field := range map[string]*int{"max-connections": &l.connections, "max-streams": &l.streams} {
		if *field = c.Int(name); c.IsSet(name) && *field < 1 {
			return l, fault.New(fault.Usage, "%s: --%s: %d is less than 1", c.Command.FullName(), name, *field)
		}
	}
	return l, nil
}
