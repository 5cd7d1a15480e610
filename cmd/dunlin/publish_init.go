package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/metadata/repository/keys"
	"github.com/dunlin-project/dunlin/publish"
)

func publishInitCommand() *cli.Command {
	return &cli.Command{
		Name:      "init",
		Usage:     "make a publisher: keys, an empty catalogue, and publisher.trust for the organisations",
		ArgsUsage: "DIR",
		Description: "Makes DIR/public (all that a web server may see), DIR/keys/offline (encrypted with the passphrase, which is\n" +
			"asked for or read from the file that DUNLIN_PASSPHRASE_FILE names), DIR/keys/online, and DIR/publisher.trust.\n" +
			"Nothing is ever overwritten.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "name", Usage: "the publisher's `NAME`, 1 to 32 of a-z, 0-9 and -; default: the name of DIR"},
			listFlag("url", "an https base `URL` where DIR/public will be served; default: the trust file names the folder"),
			listFlag("origin", "a base `URL` of the payloads, http or https"),
			&cli.IntFlag{Name: "work-factor", Value: keys.DefaultWorkFactor, Usage: "how hard the passphrase is to guess: scrypt with N = 2^`FACTOR`; lower only for tests"},
			&cli.BoolFlag{Name: "json", Usage: "print one JSON object"},
		},
		Action: publishInit,
	}
}

func publishInit(c *cli.Context) error {
	args, err := publishArgs(c)
	if err != nil {
		return err
	}
	config := publish.Config{
		Dir: args[0], WorkFactor: c.Int("work-factor"),
		Unlock: func() ([]byte, error) { return readNewPassphrase("new passphrase for the offline keys: ") },
	}
	made, err := publish.Init(c.Context, config, publish.InitRequest{
		Publisher: c.String("name"), URLs: listOf(c, "url"), Origins: listOf(c, "origin"),
	}, time.Now())
	if err != nil {
		return err
	}
	return output(c, made, func(w *tabwriter.Writer) { printMade(w, made) })
}

func printMade(w *tabwriter.Writer, m *publish.Made) {
	fmt.Fprintf(w, "publisher\t%s\n", m.Publisher)
	fmt.Fprintf(w, "serve\t%s\tthis folder and nothing else\n", m.Public)
	fmt.Fprintf(w, "hand out\t%s\tto organisations\n", m.Trust)
	fmt.Fprintf(w, "fingerprint\t%s\ttell it to them another way than the file\n\nkeys\n", m.Fingerprint)
	for _, k := range m.Keys {
		where := "online"
		if k.Offline {
			where = "offline"
		}
		fmt.Fprintf(w, "  %s (%s): %s\n    %s\n    %s\n", k.Name, where, k.Use, k.Path, k.ID)
	}
	fmt.Fprintf(w, "\nnext: move %s/keys/offline to a stick, keep a copy of it and of the passphrase apart, and name the stick\n"+
		"with --offline-keys when you add or release. Only the online key has to stay, for `dunlin publish refresh`.\n", m.Dir)
}
