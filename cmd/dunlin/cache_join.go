package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/agent"
	"github.com/dunlin-project/dunlin/cachenode/approved"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/member"
	"github.com/dunlin-project/dunlin/piecehash"
)

func cacheJoinCommand() *cli.Command {
	return &cli.Command{
		Name:      "join",
		Usage:     "join an organisation: check its depot against the token, and follow its approvals from the next \"cache run\" on",
		ArgsUsage: "TOKEN|FILE|-",
		Description: "The token is one for devices: dunlin depot token create. What is trusted is put into the node's folder, so run it as the user that\n" +
			"the node runs as.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Value: defaultCacheConfig, Usage: "the node's settings `FILE`, which may say where its folder is"},
			&cli.StringFlag{Name: "dir", Value: defaultCacheDir, Usage: "private `FOLDER` of the node"},
			&cli.StringSliceFlag{Name: "ring", Usage: "follow the approvals of the ring `NAME`; may be repeated (default: the token's)"},
			&cli.StringSliceFlag{Name: "group", Usage: "`NAME` of a group to share with; may be repeated (default: what the organisation has signed)"},
			&cli.BoolFlag{Name: "force", Aliases: []string{"replace"}, Usage: "leave another organisation for this one"},
			&cli.BoolFlag{Name: "json", Usage: "print one JSON object"},
		},
		Action: cacheJoin,
	}
}

// cacheJoined is what the command prints.
type cacheJoined struct {
	Dir    string         `json:"dir"`
	Depots []string       `json:"depots"`
	Rings  []string       `json:"rings"`
	Groups []string       `json:"groups,omitempty"`
	CAPin  metadata.Pin   `json:"ca_pin"`
	Root   piecehash.Hash `json:"approvals_root"`
}

func cacheJoin(c *cli.Context) error {
	if err := cacheSettings(c, "ring", "group"); err != nil {
		return err
	}
	dir, e := c.String("dir"), approved.Enrolment{Rings: c.StringSlice("ring"), Groups: c.StringSlice("group")}
	for _, ring := range e.Rings {
		if err := metadata.CheckRing(ring); err != nil {
			return fault.New(fault.Usage, "join: --ring: %w", err)
		}
	}
	token, got, err := followToken(c)
	if err != nil {
		return err
	}
	if e.Depots, e.Content = token.Depots, token.Content; len(e.Rings) == 0 {
		e.Rings = []string{token.Ring}
	}
	if _, err := agent.DeviceKey(dir); err != nil { // makes the folder
		return err
	}
	if err := e.Write(dir, member.Anchors{Root: got.Anchor, Authority: got.CA}, c.Bool("force")); err != nil {
		return err
	}
	j := cacheJoined{dir, e.Depots, e.Rings, e.Groups, token.CA, token.Root}
	if c.Bool("json") {
		return printJSON(c.App.Writer, j)
	}
	_, err = fmt.Fprintf(c.App.Writer, "joined %s in %s; what is trusted is in %s\nNext: dunlin cache run\n",
		strings.Join(j.Depots, ", "), strings.Join(j.Rings, ", "), dir)
	return err
}
