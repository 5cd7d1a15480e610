package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/cachenode"
	"github.com/dunlin-project/dunlin/piecehash"
)

// cacheView prints what a cache node does: lines for people, or one JSON object a line.
type cacheView struct {
	out, err io.Writer
	json     bool
}

func newCacheView(c *cli.Context) *cacheView {
	return &cacheView{c.App.Writer, c.App.ErrWriter, c.Bool("json")}
}

func (v *cacheView) listening(addrs []string, http, page string) error {
	if v.json {
		return printJSON(v.out, struct {
			Event string   `json:"event"`
			Addrs []string `json:"addrs"`
			HTTP  string   `json:"http,omitempty"`
			Page  string   `json:"page,omitempty"`
		}{"listening", addrs, http, page})
	}
	for _, a := range addrs {
		fmt.Fprintln(v.out, "listening on", a)
	}
	if http != "" {
		fmt.Fprintf(v.out, "content is at http://%s/content/ROOT\n", http)
	}
	if page != "" {
		fmt.Fprintln(v.out, "its own page is at", page)
	}
	return nil
}

// tell is for a node that runs for ever: the log says to people what happens.
func (v *cacheView) tell(e cachenode.Event) {
	if v.json {
		_ = printJSON(v.out, e) // a reader that went away is noticed at the end
	}
}

// progress is for a node that somebody waits for.
func (v *cacheView) progress(e cachenode.Event) {
	switch {
	case v.json:
		_ = printJSON(v.out, e)
	case e.Event == cachenode.Progress:
		fmt.Fprintf(v.err, "%3d%% of %s, %s/s\n", 100*e.Have/e.Bytes, sizeText(e.Bytes), sizeText(int64(float64(e.Have-e.Resumed)/e.Seconds)))
	case e.Event == cachenode.Stored:
		fmt.Fprintf(v.out, "%s: origin %s, cache %s, peers %s, waste %s\n",
			e.Name, sizeText(e.From.Origin), sizeText(e.From.Cache), sizeText(e.From.Peers), sizeText(e.Waste))
	}
}

func (v *cacheView) warm(name string, root piecehash.Root, bytes int64) error {
	if v.json {
		return printJSON(v.out, struct {
			Event string         `json:"event"`
			File  string         `json:"file"`
			Root  piecehash.Root `json:"root"`
			Bytes int64          `json:"bytes"`
		}{"warm", name, root, bytes})
	}
	_, err := fmt.Fprintf(v.out, "%s: %s are in the store and checked\n  root   %v\n", name, sizeText(bytes), root)
	return err
}

// listed prints one content of the store.
func (v *cacheView) listed(l listed) error {
	if v.json {
		return printJSON(v.out, l)
	}
	state, pin := "whole", ""
	if !l.Whole {
		state = fmt.Sprintf("%.0f%%", 100*l.Have)
	}
	if l.Pinned {
		pin = "pinned"
	}
	_, err := fmt.Fprintf(v.out, "%v  %10s  %5s  %s  %-6s  %s\n", l.Root, sizeText(l.Bytes), state, l.Used.Local().Format("2006-01-02 15:04"), pin, l.Name)
	return err
}

func (v *cacheView) ended(served, sent int64) error {
	if v.json {
		return printJSON(v.out, struct {
			Event  string `json:"event"`
			Served int64  `json:"served"` // to devices
			Sent   int64  `json:"sent"`   // by HTTP
		}{"ended", served, sent})
	}
	_, err := fmt.Fprintf(v.out, "served %s to devices, sent %s by HTTP\n", sizeText(served), sizeText(sent))
	return err
}
