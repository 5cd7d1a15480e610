package main

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/depot"
)

// The commands that need an offline key work on the folder themselves even while a server runs: the process that faces
// the network never gets to see that key or its passphrase.

func depotPublisherCommand() *cli.Command {
	return &cli.Command{
		Name: "publisher", Usage: "whom the organisation trusts",
		Subcommands: []*cli.Command{
			{
				Name: "add", Usage: "trust a publisher, or replace what is trusted of it (needs the offline targets key)", ArgsUsage: "FILE.trust",
				Flags: depotFlags(append(grantFlags(), replaceFlag(), offlineFlag())...), Action: depotPublisherAdd,
			},
			{
				Name: "remove", Usage: "trust a publisher no more, and take back its approvals (needs the offline targets key)", ArgsUsage: "NAME",
				Flags: depotFlags(offlineFlag()), Action: depotPublisherRemove,
			},
			{Name: "list", Usage: "show who is trusted, and for what", Flags: depotFlags(), Action: depotPublisherList},
		},
	}
}

func replaceFlag() cli.Flag {
	return &cli.BoolFlag{Name: "replace", Usage: "let another catalogue take the place of the one that is trusted by this name"}
}

func depotPublisherAdd(c *cli.Context) error {
	name, err := oneArgument(c, "FILE.trust")
	if err != nil {
		return err
	}
	g, err := readGrant(c, name)
	if err != nil {
		return err
	}
	d, err := depot.Open(depotConfig(c))
	if err != nil {
		return err
	}
	r, err := d.AddPublisher(c.Context, g, unlockOnce(), time.Now(), depotProgress(c))
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c.App.Writer, r)
	}
	printPublishers(c.App.Writer, []depot.PublisherStatus{r.PublisherStatus})
	if f := r.Sync.Failure; f != nil {
		fmt.Fprintf(c.App.ErrWriter, "warning: it is trusted, but its catalogue could not be mirrored; run `dunlin depot sync`: %s\n", f.Text)
	}
	_, err = fmt.Fprintln(c.App.Writer, "compare the fingerprint with what the publisher says, by another way than the file came")
	return err
}

func depotPublisherRemove(c *cli.Context) error {
	name, err := oneArgument(c, "NAME")
	if err != nil {
		return err
	}
	d, err := depot.Open(depotConfig(c))
	if err != nil {
		return err
	}
	if err := d.RemovePublisher(c.Context, name, unlockOnce(), time.Now(), depotProgress(c)); err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c.App.Writer, map[string]string{"removed": name})
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s is not trusted any more; devices keep what they have installed\n", name)
	return err
}

func depotPublisherList(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	r, err := askDepot(c, &depot.Request{Publishers: &depot.PublishersRequest{}})
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c.App.Writer, map[string]any{"publishers": append([]depot.PublisherStatus{}, r.Publishers...)})
	}
	printPublishers(c.App.Writer, r.Publishers)
	return nil
}

func depotRenewCommand() *cli.Command {
	return &cli.Command{
		Name: "renew", Usage: "sign anew what only an offline key signs, before it runs out (needs the offline targets key)",
		Flags:  depotFlags(offlineFlag(), &cli.BoolFlag{Name: "root", Usage: "the root as well (needs the offline root key)"}),
		Action: depotRenew,
	}
}

func depotRenew(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	d, err := depot.Open(depotConfig(c))
	if err != nil {
		return err
	}
	if err := d.Renew(c.Context, c.Bool("root"), unlockOnce(), time.Now()); err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.App.Writer, "signed anew")
	return err
}
