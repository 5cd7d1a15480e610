package main

import (
	"errors"
	"io/fs"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/agent"
	"github.com/dunlin-project/dunlin/internal/fault"
)

func statusCommand() *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "say what is installed on this device, what is offered to it, and why something is not installed",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Usage: "read the settings from `FILE`", Value: agent.DefaultConfigFile},
			&cli.StringFlag{Name: "control", Aliases: []string{"socket"}, Usage: "ask the agent on this socket (`PATH`)"},
			&cli.StringFlag{Name: "state-dir", Usage: "the agent's state folder (`DIR`), for when it does not run"},
			&cli.BoolFlag{Name: "json", Usage: "print one JSON object"},
		},
		Action: statusAction,
	}
}

func statusAction(c *cli.Context) error {
	if c.NArg() > 0 {
		return fault.New(fault.Usage, "status: %q is one argument too many", c.Args().First())
	}
	control, state, err := whereAgentIs(c)
	if err != nil {
		return err
	}
	s, err := askOrRead(c, control, state)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c.App.Writer, s)
	}
	return s.Write(c.App.Writer, time.Now())
}

// whereAgentIs takes flags over the configuration file over the defaults.
func whereAgentIs(c *cli.Context) (control, state string, err error) {
	control, state = c.String("control"), c.String("state-dir")
	if control != "" && state != "" {
		return control, state, nil
	}
	cfg, err := agent.ReadConfig(c.String("config"))
	if err != nil && (c.IsSet("config") || !errors.Is(err, fs.ErrNotExist)) {
		return "", "", err
	}
	// Flags name one agent: the socket of another, from the file, must not answer for it.
	if control == "" && state == "" {
		control, state = or(cfg.Control, agent.DefaultControl), or(cfg.StateDir, agent.DefaultStateDir)
	}
	return control, state, nil
}

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

// askOrRead asks the running agent, or reads what the last one has left.
func askOrRead(c *cli.Context, control, state string) (agent.Status, error) {
	asked := fault.New(fault.Unavailable, "status: no agent was asked")
	if control != "" && control != agent.Off {
		s, err := agent.AskStatus(c.Context, control)
		if err == nil || !fault.Is(err, fault.Unavailable) || state == "" {
			return s, err
		}
		asked = err
	}
	s, err := agent.ReadStatus(state)
	if errors.Is(err, fs.ErrNotExist) {
		return s, fault.WithHint(fault.New(fault.Unavailable, "no agent runs here, and none has left a status: %w", asked),
			"start one: dunlin agent run; or name its folder with --state-dir")
	}
	return s, err
}
