package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/depot"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/repository/keys"
)

func depotInitCommand() *cli.Command {
	return &cli.Command{
		Name: "init", Usage: "make a depot: its keys, its certificate authority, its rings",
		Flags: depotFlags(append([]cli.Flag{
			&cli.StringSliceFlag{Name: "host", Usage: "`NAME` or address that devices reach the depot by; the first stands in URLs, more go into the certificate"},
			&cli.StringSliceFlag{Name: "trust", Usage: "trust the publisher of this `FILE.trust`; may be repeated"},
			&cli.StringSliceFlag{Name: "ring", Usage: "`NAME` of a ring; may be repeated; default: " + strings.Join(depot.DefaultRings(), ", ")},
			&cli.StringFlag{Name: "listen", Value: depot.DefaultListen, Usage: "`ADDRESS` for metadata (TLS)"},
			&cli.StringFlag{Name: "content-listen", Value: depot.DefaultContentListen, Usage: "`ADDRESS` for content (plain HTTP)"},
			&cli.StringSliceFlag{Name: "origin", Usage: "devices look for content at `URL`/content/ROOT before they ask the depot; may be repeated"},
			&cli.StringSliceFlag{Name: "cache", Usage: "devices ask the LAN caching node at `URL` by HTTP before the origins; may be repeated"},
			&cli.StringFlag{Name: "group", Usage: "`NAME` of the group that devices exchange in; default: one of this depot's own"},
			&cli.IntFlag{Name: "work-factor", Value: keys.DefaultWorkFactor, Usage: "how hard the passphrase is to guess: scrypt with N = 2^`FACTOR`; lower only for tests"},
		}, grantFlags()...)...),
		Action: depotInit,
	}
}

func depotInit(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	if len(c.StringSlice("host")) == 0 {
		return fault.WithHint(fault.New(fault.Usage, "depot init: --host is missing"), "dunlin depot init --host updates.example.org --trust publisher.trust")
	}
	conf := depot.InitConfig{
		Config: depotConfig(c), Hosts: c.StringSlice("host"), Rings: c.StringSlice("ring"),
		Listen: c.String("listen"), ContentListen: c.String("content-listen"), Group: c.String("group"), Origins: c.StringSlice("origin"),
		Caches: c.StringSlice("cache"),
	}
	conf.WorkFactor = c.Int("work-factor")
	for _, name := range c.StringSlice("trust") {
		g, err := readGrant(c, name)
		if err != nil {
			return err
		}
		conf.Publishers = append(conf.Publishers, g)
	}
	var err error
	if conf.Passphrase, err = readNewPassphrase("new passphrase for the offline keys: "); err != nil {
		return err
	}
	result, err := depot.Init(c.Context, conf, time.Now())
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c.App.Writer, result)
	}
	return printInit(c.App.Writer, result)
}

func printInit(out io.Writer, r *depot.InitResult) error {
	fmt.Fprintf(out, "depot       %s\ndevices ask %s (TLS) and %s (content)\nrings       %s\n", r.Dir, r.URL, r.ContentURL, strings.Join(r.Rings, ", "))
	fmt.Fprintf(out, "\nfingerprints (SHA-256)\n  certificate authority  %v\n  root of the approvals  %v\n", r.CAPin, r.Root)
	if len(r.Publishers) > 0 {
		fmt.Fprintf(out, "\npublishers (compare the fingerprint with what the publisher says, by another way than the file came)\n")
	}
	printPublishers(out, r.Publishers)
	fmt.Fprintf(out, "\nkeys\n")
	w := tabwriter.NewWriter(out, 2, 0, 2, ' ', 0)
	for _, k := range r.Keys {
		kind := "online, stays here"
		if k.Move {
			kind = "offline, encrypted: MOVE AWAY"
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\n", k.Path, kind, k.Use)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	dir := ""
	if r.Dir != depot.DefaultDir {
		dir = " --dir " + r.Dir
	}
	_, err := fmt.Fprintf(out, "\nmove the two offline keys to a stick, keep a copy, and name their folder with --offline-keys when a command needs them\n"+
		"next: dunlin depot approve PUBLISHER/ID@VERSION --ring %s%s, then dunlin depot serve%s\n", r.Rings[0], dir, dir)
	return err
}

func printPublishers(out io.Writer, list []depot.PublisherStatus) {
	for _, p := range list {
		fmt.Fprintf(out, "  %s  %v\n    may use %s and install below %s; catalogue %s\n", p.Name, p.Fingerprint,
			strings.Join(p.Handlers, ", "), strings.Join(p.Destinations, ", "), strings.Join(p.Catalogues, ", "))
	}
}

// unlockOnce asks for the passphrase of the offline keys at most once.
func unlockOnce() func() ([]byte, error) {
	return sync.OnceValues(func() ([]byte, error) { return readPassphrase("passphrase of the offline keys: ") })
}
