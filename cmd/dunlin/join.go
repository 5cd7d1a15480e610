package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/agent"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/piecehash"
)

// tokenPrefix is how a token on the command line is told from the name of a file.
const tokenPrefix = "dunlin"

func joinCommand() *cli.Command {
	return &cli.Command{
		Name: "join", Usage: "join an organisation: check its depot against the token and write the agent's configuration",
		ArgsUsage: "TOKEN|FILE|-",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Value: agent.DefaultConfigFile, Usage: "the agent's configuration `FILE`"},
			&cli.StringFlag{Name: "state-dir", Usage: "the agent's state `FOLDER`; default: what the configuration says, else " + agent.DefaultStateDir},
			&cli.BoolFlag{Name: "force", Aliases: []string{"replace"}, Usage: "leave another organisation for this one"},
			&cli.BoolFlag{Name: "json", Usage: "print one JSON object"},
		},
		Action: join,
	}
}

// joined is what the command prints.
type joined struct {
	Config   string         `json:"config"`
	Depots   []string       `json:"depots"`
	Ring     string         `json:"ring"`
	CAPin    metadata.Pin   `json:"ca_pin"`
	Root     piecehash.Hash `json:"approvals_root"`
	StateDir string         `json:"state_dir"`
}

func join(c *cli.Context) error {
	token, got, err := followToken(c)
	if err != nil {
		return err
	}
	e := agent.Enrolment{
		Depots: token.Depots, ContentURLs: token.Content, CAPEM: got.CA, ApprovalsRoot: got.Anchor,
		Ring: token.Ring, Replace: c.Bool("force"),
	}
	if dir := c.String("state-dir"); dir != "" {
		if e.StateDir, err = filepath.Abs(dir); err != nil { // an agent may be started from anywhere
			return fmt.Errorf("find state folder: %w", err)
		}
	}
	if err := agent.WriteConfig(c.String("config"), e); err != nil {
		return err
	}
	return printJoined(c, token)
}

// followToken gets what the token of the command line leads to.
func followToken(c *cli.Context) (*metadata.Token, *metadata.Joined, error) {
	if c.NArg() != 1 {
		return nil, nil, fault.WithHint(fault.New(fault.Usage, "join: %d arguments, want 1", c.NArg()), "dunlin join TOKEN, or a file that holds it, or - for standard input")
	}
	text, err := tokenText(c.Args().First(), os.Stdin)
	if err != nil {
		return nil, nil, err
	}
	token, err := metadata.ParseToken(text)
	if err != nil {
		return nil, nil, err
	}
	got, err := metadata.Bootstrap(c.Context, token, time.Now(), nil)
	if err != nil {
		return nil, nil, fmt.Errorf("join %s: %w", strings.Join(token.Depots, ", "), err)
	}
	return token, got, nil
}

func printJoined(c *cli.Context, token *metadata.Token) error {
	conf, err := agent.ReadConfig(c.String("config"))
	if err != nil {
		return err
	}
	j := joined{Config: c.String("config"), Depots: token.Depots, Ring: token.Ring, CAPin: token.CA, Root: token.Root, StateDir: conf.StateDir}
	if j.StateDir == "" {
		j.StateDir = agent.DefaultStateDir
	}
	if c.Bool("json") {
		return printJSON(c.App.Writer, j)
	}
	_, err = fmt.Fprintf(c.App.Writer, "joined %s in ring %s; wrote %s\nNext: dunlin agent run\n", strings.Join(j.Depots, ", "), j.Ring, j.Config)
	return err
}

// tokenText gives the token itself, or what a file or standard input holds.
func tokenText(arg string, stdin io.Reader) (string, error) {
	in := stdin
	switch {
	case arg == "-":
	case strings.HasPrefix(arg, tokenPrefix) && strings.Contains(arg, ".") && !isFile(arg):
		return arg, nil
	default:
		f, err := os.Open(arg)
		if errors.Is(err, fs.ErrNotExist) {
			return "", fault.WithHint(fault.New(fault.Usage, "join: %.60q is neither a token nor a file", arg), "copy the whole line that `dunlin depot token create` printed")
		}
		if err != nil {
			return "", fault.New(fault.Usage, "join: %w", err)
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, metadata.MaxTokenSize+2))
	if err != nil {
		return "", fault.New(fault.Usage, "read token: %w", err)
	}
	// A whole line as it is printed may be in the file, too.
	return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(string(b)), "dunlin join ")), nil
}

func isFile(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
