package main

import (
	"time"

	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

func publishDecisionFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "id", Usage: "`ID` of what is updated, the same for all its versions"},
		&cli.StringFlag{Name: "version", Usage: "`VERSION` as people see it"},
		&cli.Int64Flag{Name: "release-counter", Usage: "`N` orders the releases of an id; default: one more than the highest"},
		&cli.StringFlag{Name: "kind", Value: string(metadata.KindApp), Usage: "os, app, driver, definition or store"},
		&cli.StringFlag{Name: "title", Usage: "one line for people"},
		&cli.StringFlag{Name: "severity", Usage: "critical, important, moderate or low"},
		&cli.StringFlag{Name: "when", Usage: "only for devices for which `CEL` is true, e.g. os == \"linux\" && arch == \"amd64\""},
		listFlag("hardware-id", "only for devices with this hardware `ID`"),
		listFlag("supersedes", "another `ID` that this update replaces"),
		listFlag("requires", "an update, `ID@VERSION`, that must be installed before"),
		listFlag("origin", "a base `URL` of the payload, http or https"),
		listFlag("crit", "a `FIELD` of the record that a device must understand or refuse the update"),
		&cli.Int64Flag{Name: "lowest-downgrade", Usage: "devices may go back as far as release `N`; default: never back"},
	}
}

func publishInstallFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "handler", Value: metadata.HandlerFile, Usage: "file, tree (an archive) or exec (the payload itself is run)"},
		&cli.StringFlag{Name: "dest", Usage: "absolute `PATH` where file and tree put it"},
		&cli.StringFlag{Name: "mode", Usage: "permission bits of the file, e.g. 0755"},
		&cli.StringFlag{Name: "owner", Usage: "`USER` or USER:GROUP"},
		listFlag("arg", "an `ARGUMENT` for exec; no shell sees it"),
		&cli.DurationFlag{Name: "timeout", Usage: "how long the handler may take, whole seconds"},
		listFlag("health-check", "an `ARGUMENT` of the command that must succeed after the installation, the program first; organisation and device must allow exec"),
		&cli.DurationFlag{Name: "health-timeout", Usage: "how long the health check may take, whole seconds"},
		&cli.IntSliceFlag{Name: "success-code", Usage: "an exit `CODE` of exec that means done; may be repeated; default: 0"},
		&cli.IntSliceFlag{Name: "reboot-code", Usage: "an exit `CODE` of exec that means done after a reboot; may be repeated"},
		&cli.BoolFlag{Name: "removable", Usage: "the organisation may have it removed"},
		listFlag("removal-arg", "an `ARGUMENT` for the removal"),
		&cli.Int64Flag{Name: "uncompressed-size", Usage: "an archive may unpack to `BYTES` at most; default: what it does unpack to"},
		&cli.Int64Flag{Name: "piece-length", Usage: "`BYTES` in a piece, a power of two; default: by the length"},
		&cli.BoolFlag{Name: "release", Usage: "release at once, as dunlin publish release does"},
	}
}

// publishUpdate turns the flags into a record; what is wrong with it, publish says.
func publishUpdate(c *cli.Context) (metadata.Update, error) {
	u := metadata.Update{
		ID: c.String("id"), Version: c.String("version"), Release: c.Int64("release-counter"),
		Title: c.String("title"), Kind: metadata.Kind(c.String("kind")), Severity: metadata.Severity(c.String("severity")),
		PieceLength: c.Int64("piece-length"), Uncompressed: c.Int64("uncompressed-size"),
		Supersedes: listOf(c, "supersedes"), Applicability: c.String("when"), Hardware: listOf(c, "hardware-id"),
		Handler: c.String("handler"), Arguments: listOf(c, "arg"), Destination: c.String("dest"),
		Mode: c.String("mode"), Owner: c.String("owner"),
		Success: c.IntSlice("success-code"), Reboot: c.IntSlice("reboot-code"),
		LowestDowngrade: c.Int64("lowest-downgrade"), Origins: listOf(c, "origin"), Crit: listOf(c, "crit"),
	}
	if args := listOf(c, "health-check"); len(args) > 0 {
		u.Health = &metadata.HealthCheck{Command: args}
	}
	if args := listOf(c, "removal-arg"); c.Bool("removable") || len(args) > 0 {
		u.Removable = &metadata.Removal{Arguments: args}
	}
	for name, to := range map[string]*int64{"timeout": &u.Timeout, "health-timeout": healthTimeout(&u)} {
		d := c.Duration(name)
		if d%time.Second != 0 || d != 0 && to == nil {
			return u, fault.New(fault.Usage, "publish add: --%s %v: want whole seconds, and for a health check its command", name, d)
		}
		if to != nil {
			*to = int64(d / time.Second)
		}
	}
	return u, nil
}

func healthTimeout(u *metadata.Update) *int64 {
	if u.Health == nil {
		return nil
	}
	return &u.Health.Timeout
}
