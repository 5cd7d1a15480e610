package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/agent"
	"github.com/dunlin-project/dunlin/cachenode"
	"github.com/dunlin-project/dunlin/cachenode/urlcache"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store"
	"github.com/dunlin-project/dunlin/store/room"
	"github.com/dunlin-project/dunlin/store/scrub"
)

// cacheStoreCommands work on the store itself, beside a node that runs or without one.
func cacheStoreCommands() []*cli.Command {
	return []*cli.Command{{
		Name:   "list",
		Usage:  "show what is in the store, the most useful first, and the files known by their URL",
		Flags:  storeFlags(),
		Action: cacheList,
	}, {
		Name:        "pin",
		Usage:       "keep content, whatever room there is and however old it gets",
		ArgsUsage:   "ROOT|NAME|FILE.torrent|URL...",
		Description: "NAME is that of a file in a metainfo file in the folder of --content. What is not stored yet may be pinned as well. A node that\nruns heeds it from now on. A file that is known by its URL is replaced all the same when it changes at its origin.",
		Flags:       storeFlags(),
		Action:      cachePin,
	}, {
		Name:      "unpin",
		Usage:     "let content go like any other",
		ArgsUsage: "ROOT|NAME|FILE.torrent|URL...",
		Flags:     storeFlags(),
		Action:    cachePin,
	}, {
		Name:      "remove",
		Usage:     "delete content from the store, or files known by their URL",
		ArgsUsage: "ROOT|NAME|FILE.torrent|URL...",
		Description: "A node that runs gives the room back within 10 s, or when the last reader is done. What it knows it fetches again when it\nis asked for, and ahead of that after its next start at the earliest. What is being fetched at this moment stays.\n" +
			"A file that is known by its URL stays while it is read.",
		Flags:  storeFlags(),
		Action: cacheRemove,
	}}
}

func storeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "dir", Value: defaultCacheDir, Usage: "private `FOLDER` of the node"},
		&cli.StringFlag{Name: "content", Usage: "`FOLDER` of the metainfo files, for names"},
		&cli.BoolFlag{Name: "json", Usage: "print one object a line"},
	}
}

func maxSizeFlag() cli.Flag {
	return &cli.StringFlag{Name: "max-size", Usage: "`SIZE`, or N% of the disk, that the store may take: the least useful goes (default: until --reserve is reached)"}
}

func maxAgeFlag() cli.Flag {
	return &cli.StringFlag{Name: "max-age", Usage: "`TIME` after its last use at which content goes, such as 30d or 12h (default: never)"}
}

func scrubFlag() cli.Flag {
	return &cli.StringFlag{Name: "scrub-rate", Value: "20M", Usage: "`RATE` at which what is stored is read again in idle time, at most, to find what has rotted; or off"}
}

func scrubCycleFlag() cli.Flag {
	return &cli.StringFlag{Name: "scrub-cycle", Value: "30d", Usage: "`TIME` in which all that is stored is read once"}
}

// scrubOf is how to scrub; a rate of 0 is not at all.
func scrubOf(c *cli.Context) (s scrub.Config, err error) {
	name := c.Command.FullName()
	if c.String("scrub-rate") == "off" || c.String("scrub-rate") == "" {
		return s, nil
	}
	if s.Rate, err = parseSize(c.String("scrub-rate")); err != nil {
		return s, fault.New(fault.Usage, "%s: --scrub-rate: %w", name, err)
	}
	if s.Cycle, err = parseDays(c.String("scrub-cycle")); err != nil {
		return s, fault.New(fault.Usage, "%s: --scrub-cycle: %w", name, err)
	}
	return s, nil
}

func roomOf(c *cli.Context, reserve int64) (l room.Limits, err error) {
	l.Free = reserve
	name := c.Command.FullName()
	if s := c.String("max-size"); strings.HasSuffix(s, "%") {
		l.Percent, err = strconv.Atoi(strings.TrimSuffix(s, "%"))
		if err != nil || l.Percent < 1 || l.Percent > 100 {
			return l, fault.New(fault.Usage, "%s: --max-size: %q is not from 1%% to 100%%", name, s)
		}
	} else if s != "" {
		if l.Bytes, err = parseLarge(s); err != nil {
			return l, fault.New(fault.Usage, "%s: --max-size: %w", name, err)
		}
	}
	if s := c.String("max-age"); s != "" {
		if l.Age, err = parseDays(s); err != nil {
			return l, fault.New(fault.Usage, "%s: --max-age: %w", name, err)
		}
	}
	return l, nil
}

// parseLarge is parseSize for disks: it knows T, TiB and TB as well.
func parseLarge(s string) (int64, error) {
	for suffix, unit := range map[string]string{"T": "G", "TiB": "GiB", "TB": "GB"} {
		if digits, ok := strings.CutSuffix(s, suffix); ok {
			n, err := parseSize(digits + unit)
			if unit == "GB" {
				return n * 1000, err
			}
			return n << 10, err
		}
	}
	return parseSize(s)
}

const maxDays = 100 * 365

// parseDays reads a duration, also in days: 30d.
func parseDays(s string) (time.Duration, error) {
	if digits, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.Atoi(digits)
		if err != nil || n < 1 || n > maxDays {
			return 0, fmt.Errorf("%q is not from 1d to %dd", s, maxDays)
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is no time such as 30d or 12h", s)
	}
	return d, nil
}

// makeCacheFolder makes the folder of a node that has never run: the store is of the same user, and as private.
func makeCacheFolder(dir string) error {
	_, err := agent.DeviceKey(dir)
	return err
}

// openCacheStore opens the store of a node that has one.
func openCacheStore(c *cli.Context) (*store.Store, error) {
	dir := cacheOptions{dir: c.String("dir")}.store()
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, fault.WithHint(fault.New(fault.Usage, "%s: there is no store in %s", c.Command.FullName(), c.String("dir")),
			"name the node's folder with --dir")
	}
	return store.Open(dir, store.Options{})
}

// names are those that the folder of --content gives to roots.
func cacheNames(c *cli.Context) (map[piecehash.Root]string, error) {
	out := make(map[piecehash.Root]string)
	if c.String("content") == "" {
		return out, nil
	}
	known, err := cachenode.OpenFolder(c.String("content"), newLogger(c))
	if err != nil {
		return nil, err
	}
	for _, root := range known.Refresh(c.Context) {
		if item, err := known.Find(root); err == nil {
			out[root] = item.Name
		}
	}
	return out, nil
}

func noRoots(c *cli.Context) error {
	return fault.New(fault.Usage, "%s: want roots, names or metainfo files", c.Command.FullName())
}

func rootsMeant(c *cli.Context, args []string) ([]piecehash.Root, error) {
	names, err := cacheNames(c)
	if err != nil {
		return nil, err
	}
	var out []piecehash.Root
	for _, arg := range args {
		roots, err := meant(c, names, arg)
		if err != nil {
			return nil, err
		}
		out = append(out, roots...)
	}
	return out, nil
}

func meant(c *cli.Context, names map[piecehash.Root]string, arg string) (out []piecehash.Root, err error) {
	if root, err := piecehash.ParseRoot(arg); err == nil {
		return []piecehash.Root{root}, nil
	}
	if filepath.Ext(arg) == ".torrent" {
		item, err := (&cacheKnown{}).loadItem(c.Context, arg, newLogger(c))
		if err != nil {
			return nil, err
		}
		return []piecehash.Root{item.Manifest.Root()}, nil
	}
	for root, name := range names {
		if name == arg {
			out = append(out, root)
		}
	}
	if len(out) != 1 {
		return nil, fault.WithHint(fault.New(fault.Usage, "%s: %.80q is neither a root nor the name of one file that is known", c.Command.FullName(), arg),
			"name the folder of the metainfo files with --content; dunlin cache list shows names and roots")
	}
	return out, nil
}

func cachePin(c *cli.Context) error {
	word, pinFile := "pinned", urlcache.Pin
	if c.Command.Name == "unpin" {
		word, pinFile = "unpinned", urlcache.Unpin
	}
	rest, err := eachFile(c, word, func(name string) error {
		if _, err := os.Stat(c.String("dir")); err != nil {
			return fault.WithHint(fault.New(fault.Usage, "%s: there is no node in %s", c.Command.FullName(), c.String("dir")), "name the node's folder with --dir")
		}
		return pinFile(urlsOf(c).dir, name)
	})
	if err != nil || len(rest) == 0 && c.NArg() > 0 {
		return err
	}
	s, err := openCacheStore(c)
	if err != nil {
		return err
	}
	if c.NArg() == 0 {
		return noRoots(c)
	}
	roots, err := rootsMeant(c, rest)
	if err != nil {
		return err
	}
	change := s.Pin
	if c.Command.Name == "unpin" {
		change = s.Unpin
	}
	return eachRoot(c, roots, word, change)
}

func cacheRemove(c *cli.Context) error {
	rest, err := eachFile(c, "removed", func(name string) error { return removeFile(c, name) })
	if err != nil || len(rest) == 0 && c.NArg() > 0 {
		return err
	}
	s, err := openCacheStore(c)
	if err != nil {
		return err
	}
	if c.NArg() == 0 {
		return noRoots(c)
	}
	roots, err := rootsMeant(c, rest)
	if err != nil {
		return err
	}
	pinned, err := s.Pinned()
	if err != nil {
		return err
	}
	return eachRoot(c, roots, "removed", func(root piecehash.Root) error {
		if pinned[root] {
			return fault.WithHint(fault.New(fault.Refused, "remove content %v: it is pinned", root), "dunlin cache unpin %v", root)
		}
		if _, there := s.Look(root); !there {
			return fault.New(fault.Usage, "remove content %v: %w", root, store.ErrNotFound)
		}
		return s.Remove(root)
	})
}

// eachRoot does something to each root, all of them even when one fails, and says what was done.
func eachRoot(c *cli.Context, roots []piecehash.Root, word string, do func(piecehash.Root) error) error {
	var errs []error
	for _, root := range roots {
		err := do(root)
		switch {
		case err != nil && len(roots) > 1:
			fmt.Fprintln(c.App.ErrWriter, err)
			fallthrough
		case err != nil:
			errs = append(errs, err)
			continue
		case c.Bool("json"):
			err = printJSON(c.App.Writer, map[string]any{"event": word, "root": root})
		default:
			_, err = fmt.Fprintln(c.App.Writer, word, root)
		}
		if err != nil {
			return err
		}
	}
	return fault.WorstOf(errs...)
}

// listed is one content of "dunlin cache list --json".
type listed struct {
	Root   piecehash.Root `json:"root"`
	Name   string         `json:"name,omitempty"`
	Whole  bool           `json:"whole"`
	Length int64          `json:"length"`         // of the content
	Bytes  int64          `json:"bytes"`          // of the disk
	Have   float64        `json:"have,omitempty"` // of a partial one: the share of its pieces that is there, 0 to 1
	Used   time.Time      `json:"used"`
	Pinned bool           `json:"pinned"`
}

func cacheList(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	s, err := openCacheStore(c)
	if err != nil {
		if n, failed := listFiles(c); n > 0 || failed != nil { // a folder that was only warmed with such
			return failed
		}
		return err
	}
	names, err := cacheNames(c)
	if err != nil {
		return err
	}
	all, err := s.Survey()
	if err != nil {
		return err
	}
	pinned, err := s.Pinned()
	if err != nil {
		return err
	}
	room.Useful(all)
	view := newCacheView(c)
	for _, e := range all {
		l := listed{Root: e.Root, Name: names[e.Root], Whole: e.Whole, Length: e.Length, Bytes: e.Bytes, Used: e.Used, Pinned: pinned[e.Root]}
		if have, pieces, err := s.Pieces(e.Root); !e.Whole && err == nil {
			l.Have = float64(have) / float64(pieces)
		}
		if err := view.listed(l); err != nil {
			return err
		}
	}
	_, err = listFiles(c)
	return err
}
