package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/cachenode/urlcache"
	"github.com/dunlin-project/dunlin/cachenode/urlcontrol"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/internal/filelock"
)

// urlsOf are the files known by their URL of the folder that a command on the store names.
func urlsOf(c *cli.Context) urlCacheOptions {
	return urlCacheOptions{dir: filepath.Join(c.String("dir"), "urls")}
}

// listFiles prints them, and returns how many there are.
func listFiles(c *cli.Context) (int, error) {
	all, err := urlcache.List(urlsOf(c).dir, time.Now())
	if err != nil {
		return 0, err
	}
	view := newCacheView(c)
	for _, f := range all {
		if err := view.listedFile(f); err != nil {
			return 0, err
		}
	}
	return len(all), nil
}

func (v *cacheView) listedFile(f urlcache.File) error {
	if v.json {
		return printJSON(v.out, struct {
			URL    string    `json:"url"`
			Whole  bool      `json:"whole"`
			Length int64     `json:"length"` // of the file
			Bytes  int64     `json:"bytes"`  // of it, those that are kept
			Got    time.Time `json:"got"`    // when the origin was last asked
			Age    int64     `json:"age"`    // seconds, as HTTP counts it
			Fresh  bool      `json:"fresh"`
			Pinned bool      `json:"pinned"`
		}{f.URL, f.Have == f.Size, f.Size, f.Have, f.Got, int64(f.Age / time.Second), f.Fresh, f.Pinned})
	}
	state, fresh, pin := "whole", "old", ""
	if f.Have < f.Size {
		state = fmt.Sprintf("%.0f%%", 100*float64(f.Have)/float64(f.Size))
	}
	if f.Fresh {
		fresh = "fresh"
	}
	if f.Pinned {
		pin = "pinned"
	}
	_, err := fmt.Fprintf(v.out, "%-64s  %10s  %5s  %s  %-6s  %s\n",
		"by its URL, "+fresh, sizeText(f.Have), state, f.Got.Local().Format("2006-01-02 15:04"), pin, f.URL)
	return err
}

// eachFile does something to each file that an argument names by its URL, all of them even when one fails, says what was done,
// and returns the other arguments.
func eachFile(c *cli.Context, word string, do func(name string) error) (rest []string, err error) {
	var errs []error
	for _, arg := range c.Args().Slice() {
		if !namesFile(arg) {
			rest = append(rest, arg)
			continue
		}
		if err := do(arg); err != nil {
			errs = append(errs, err)
			continue
		}
		if c.Bool("json") {
			err = printJSON(c.App.Writer, map[string]any{"event": word, "url": arg})
		} else {
			_, err = fmt.Fprintln(c.App.Writer, word, arg)
		}
		if err != nil {
			return nil, err
		}
	}
	return rest, fault.WorstOf(errs...)
}

// removeFile deletes one: by the node that runs on the folder, or without one.
func removeFile(c *cli.Context, name string) (err error) {
	opt := urlsOf(c)
	if err := urlcontrol.Remove(c.Context, opt.socket(), name); !errors.Is(err, urlcontrol.ErrNobody) {
		return err
	}
	lock, err := filelock.Acquire(c.Context, cacheOptions{dir: c.String("dir")}.lock())
	if err != nil {
		return fault.WithHint(err, "the node that runs on this folder serves no files by their URL: stop it first")
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	return urlcache.Remove(opt.dir, name)
}
