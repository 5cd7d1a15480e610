package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"

	"github.com/dunlin-project/dunlin/agent"
	"github.com/dunlin-project/dunlin/cachenode"
	"github.com/dunlin-project/dunlin/cachenode/approved"
	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/internal/window"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/member"
	"github.com/dunlin-project/dunlin/swarm"
)

// cacheFollow is what a node that has joined an organisation follows.
type cacheFollow struct {
	joined  bool
	follows bool // the group that the organisation signs: nobody here has named one
	approved.Enrolment
	anchors  member.Anchors
	interval time.Duration
}

// look is the time between two looks at what may be given away: as short as that between two questions to the depot, where that is
// short; zero is the node's own.
func (o cacheOptions) look() time.Duration {
	const quick = 5 * time.Second
	if o.joined && o.interval < quick {
		return o.interval
	}
	return 0
}

// approvals is where it keeps what it learns.
func (o cacheOptions) approvals() string { return filepath.Join(o.dir, "approvals") }

// cacheSettings gives the flags of c what the settings file says.
func cacheSettings(c *cli.Context, skip ...string) error {
	if c.Command.Name != "run" {
		skip = append(skip, "listen") // the node that runs has the address
	}
	return flagFile{c.String("config"), cacheSettingsFlags()}.apply(c, c.IsSet("config"), skip...)
}

// cacheSettingsFlags are those that the settings file may speak of.
func cacheSettingsFlags() []cli.Flag {
	return slices.DeleteFunc(find(cacheCommand().Subcommands, "run").Flags, commandLineOnly)
}

// commandLineOnly are flags of a cache node that no settings file has: they are about one run of the command.
func commandLineOnly(f cli.Flag) bool { return f.Names()[0] == "config" || f.Names()[0] == "json" }

// follow adds what the node knows from joining; the settings go before it.
func (o *cacheOptions) follow(c *cli.Context) (err error) {
	o.interval = c.Duration("interval")
	o.Enrolment, o.anchors, err = approved.ReadEnrolment(o.dir)
	switch {
	case err == nil:
		o.joined = true
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case len(c.StringSlice("ring")) > 0:
		return fault.WithHint(fault.New(fault.Usage, "%s: --ring: this node has not joined an organisation", c.Command.FullName()), "dunlin cache join TOKEN")
	}
	if rings := c.StringSlice("ring"); len(rings) > 0 {
		o.Rings = rings
	}
	if len(o.groups) == 0 {
		o.groups = o.Groups
	}
	o.follows = len(o.groups) == 0
	if !c.IsSet("prefetch") {
		o.prefetch = o.joined
	}
	return nil
}

// prefetchOf is what is fetched that nobody has asked for, and when.
func prefetchOf(c *cli.Context, on bool) (p cachenode.Prefetch, err error) {
	p.On = on
	if p.Window, err = window.Parse(c.String("prefetch-window")); err != nil {
		return p, fault.New(fault.Usage, "%s: --prefetch-window: %w", c.Command.FullName(), err)
	}
	if text := c.String("prefetch-rate"); text != "" {
		if p.Rate, err = parseSize(text); err != nil {
			return p, fault.New(fault.Usage, "%s: --prefetch-rate: %w", c.Command.FullName(), err)
		}
	}
	return p, nil
}

// cacheKnown is what a node knows. It outlives the node's link to devices, which changes with the group that the organisation
// signs.
type cacheKnown struct {
	cachenode.Union
	approved *approved.Catalogue // nil: the node has not joined
}

// openFollowed opens what a node that has joined knows, and nothing for one that has not. It asks nobody.
func openFollowed(opt cacheOptions, key ed25519.PrivateKey, log *slog.Logger) (*cacheKnown, error) {
	k := &cacheKnown{}
	if !opt.joined {
		return k, nil
	}
	var err error
	k.approved, err = approved.Open(approved.Config{
		Dir: opt.approvals(), Anchors: opt.anchors, Depots: opt.Depots, Content: opt.Content, Rings: opt.Rings,
		ID: agent.DeviceID(key), Interval: opt.interval, Log: log,
	})
	k.Union = append(k.Union, k.approved)
	return k, err
}

func openKnown(ctx context.Context, opt cacheOptions, key ed25519.PrivateKey, log *slog.Logger) (*cacheKnown, error) {
	k, err := openFollowed(opt, key, log)
	if err != nil {
		return nil, err
	}
	if err := k.addFolder(opt, log); err != nil {
		return nil, err
	}
	if k.approved == nil || len(opt.groups) > 0 || !k.approved.Status().Synced.IsZero() {
		return k, nil
	}
	// Nobody has said yet which group it is; serving in the wrong one would be worse than waiting for the first answer.
	gate := httpfallback.NewGate(httpfallback.GateConfig{Log: log})
	defer gate.Close()
	if err := k.approved.Sync(ctx, gate); err != nil && k.approved.Status().Synced.IsZero() {
		return nil, err
	}
	return k, nil
}

// addFolder adds the folder of metainfo files, if there is one.
func (k *cacheKnown) addFolder(opt cacheOptions, log *slog.Logger) error {
	if opt.content == "" {
		return nil
	}
	folder, err := cachenode.OpenFolder(opt.content, log)
	if err == nil {
		k.Union = append(k.Union, folder)
	}
	return err
}

// groups are the names of those to share with.
func (k *cacheKnown) groups(opt cacheOptions) []string {
	switch {
	case len(opt.groups) > 0:
		return opt.groups
	case k.approved != nil && k.approved.Group() != "":
		return []string{k.approved.Group()}
	}
	return []string{swarm.DefaultGroup}
}

// follow returns work and, beside it, the questions to the depot. It ends, and sets moved, when the organisation has signed
// another group than the node is in, unless the settings name one.
func (k *cacheKnown) follow(gate *httpfallback.Gate, opt cacheOptions, work func(context.Context) error, moved *bool) func(context.Context) error {
	if k.approved == nil {
		return work
	}
	return func(ctx context.Context) error {
		ctx, end := context.WithCancel(ctx)
		defer end()
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return work(ctx) })
		g.Go(func() error {
			return k.approved.Run(ctx, gate, func() {
				if signed := k.approved.Group(); opt.follows && signed != "" && !slices.Equal(opt.groups, []string{signed}) {
					*moved = true
					end()
				}
			})
		})
		return g.Wait()
	}
}

// loadItem finds what an argument of "cache warm" names.
func (k *cacheKnown) loadItem(ctx context.Context, name string, log *slog.Logger) (*cachenode.Item, error) {
	gate := httpfallback.NewGate(httpfallback.GateConfig{Log: log})
	defer gate.Close()
	if publisher, id, version, ok := updateName(name); ok {
		return k.loadUpdate(ctx, gate, publisher, id, version)
	}
	m, err := loadMetainfo(ctx, gate, name)
	if err != nil {
		return nil, err
	}
	return &cachenode.Item{Manifest: m.Manifest, Name: m.Name, Origins: m.Origins()}, nil
}

// updateName takes PUBLISHER/ID, PUBLISHER/ID/VERSION and, as on the depot, PUBLISHER/ID@VERSION apart. What is a file, or
// looks like one or like a URL, names no update.
func updateName(s string) (publisher, id, version string, ok bool) {
	if _, err := os.Stat(s); !errors.Is(err, fs.ErrNotExist) || strings.HasSuffix(s, ".torrent") {
		return "", "", "", false
	}
	publisher, rest, ok := strings.Cut(s, "/")
	id, version, named := strings.Cut(strings.Replace(rest, "@", "/", 1), "/")
	ok = ok && metadata.CheckPublisher(publisher) == nil && metadata.CheckID(id) == nil && (!named || metadata.CheckVersion(version) == nil)
	return publisher, id, version, ok
}

// loadUpdate asks the depot what is approved; if it does not answer, what was approved when it last did.
func (k *cacheKnown) loadUpdate(ctx context.Context, gate *httpfallback.Gate, publisher, id, version string) (*cachenode.Item, error) {
	if k.approved == nil {
		return nil, fault.WithHint(fault.New(fault.Usage, "find %s/%s: this node has not joined an organisation", publisher, id), "dunlin cache join TOKEN")
	}
	syncErr := k.approved.Sync(ctx, gate)
	root, err := k.approved.Named(publisher, id, version)
	if err != nil {
		return nil, errors.Join(err, syncErr)
	}
	return k.approved.Find(root)
}

// Expires implements cachenode.Expirer.
func (k *cacheKnown) Expires() time.Time {
	if k.approved == nil {
		return time.Time{}
	}
	return k.approved.Status().Expires
}
