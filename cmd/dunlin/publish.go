package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/publish"
)

func publishCommand() *cli.Command {
	return &cli.Command{
		Name:  "publish",
		Usage: "cut, hash, sign and release a static catalogue that any web server can carry",
		Subcommands: []*cli.Command{
			publishInitCommand(), publishAddCommand(), publishReleaseCommand(), publishRefreshCommand(), publishListCommand(),
			publishWithdrawCommand(), publishSweepCommand(), publishCertCommand(), publishRotateCommand(),
		},
	}
}

// publishFlags are those that every subcommand with keys has.
func publishFlags(more ...cli.Flag) []cli.Flag {
	return append(more,
		&cli.StringFlag{Name: "offline-keys", Usage: "the offline keys lie in `FOLDER` (a mounted stick), not in DIR/keys/offline"},
		&cli.BoolFlag{Name: "json", Usage: "print one JSON object"})
}

// textList takes each value as it is. cli's own lists split at commas, and a comma is a fine character in an argument.
type textList struct{ values []string }

func (l *textList) Set(s string) error {
	l.values = append(l.values, s)
	return nil
}

func (l *textList) String() string { return strings.Join(l.values, " ") }

func listFlag(name, usage string) cli.Flag {
	return &cli.GenericFlag{Name: name, Usage: usage + "; may be repeated", Value: &textList{}}
}

func listOf(c *cli.Context, name string) []string {
	if l, ok := c.Generic(name).(*textList); ok {
		return l.values
	}
	return nil
}

// publishArgs returns exactly the arguments that a subcommand names in its ArgsUsage.
func publishArgs(c *cli.Context) ([]string, error) {
	want := strings.Fields(c.Command.ArgsUsage)
	open := len(want) > 0 && strings.HasSuffix(want[len(want)-1], "...")
	if n := c.NArg(); n < len(want) || n > len(want) && !open {
		return nil, fault.WithHint(fault.New(fault.Usage, "publish %s: %d arguments, want %s", c.Command.Name, n, c.Command.ArgsUsage),
			"dunlin publish %s %s", c.Command.Name, c.Command.ArgsUsage)
	}
	return c.Args().Slice(), nil
}

// openPublisher opens the folder and asks for the passphrase at most once, and only when a key needs it.
func openPublisher(c *cli.Context, dir string) (*publish.Publisher, error) {
	return publish.Open(publish.Config{
		Dir: dir, OfflineKeys: c.String("offline-keys"),
		Unlock: sync.OnceValues(func() ([]byte, error) { return readPassphrase("passphrase of the offline keys: ") }),
	})
}

// readNewPassphrase asks twice on a terminal, because a mistyped passphrase would lock everybody out.
func readNewPassphrase(prompt string) ([]byte, error) {
	first, err := readPassphrase(prompt)
	if err != nil || os.Getenv("DUNLIN_PASSPHRASE_FILE") != "" {
		return first, err
	}
	second, err := readPassphrase("once more: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, second) {
		return nil, fault.New(fault.Usage, "read passphrase: the two are not the same")
	}
	return first, nil
}

// output prints v as JSON or has text print it.
func output(c *cli.Context, v any, text func(*tabwriter.Writer)) error {
	if c.Bool("json") {
		return printJSON(c.App.Writer, v)
	}
	w := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	text(w)
	return w.Flush()
}

func printRoles(w *tabwriter.Writer, roles []publish.RoleState) {
	for _, r := range roles {
		note := ""
		switch {
		case r.Expired:
			note = "EXPIRED: devices refuse the catalogue"
		case r.Due:
			note = "half of its life is over"
		}
		fmt.Fprintf(w, "%s\tversion %d\tuntil %s\t%s\n", r.Role, r.Version, r.Expires.Format(time.RFC3339), note)
	}
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, " ")
}
