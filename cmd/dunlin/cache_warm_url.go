package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/dunlin-project/dunlin/cachenode"
	"github.com/dunlin-project/dunlin/cachenode/urlcache"
	"github.com/dunlin-project/dunlin/cachenode/urlcontrol"
	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/internal/filelock"
)

// namesFile reports whether an argument of "cache warm" is the URL of a file and not that of a metainfo file.
func namesFile(name string) bool {
	u, err := url.Parse(name)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && !strings.HasSuffix(path.Base(u.Path), ".torrent")
}

// socket is where a node that runs takes commands about its files.
func (o urlCacheOptions) socket() string { return filepath.Join(filepath.Dir(o.dir), "urls.sock") }

// nodeFiles are the files of a node that runs. What its catalogue knows is content also when it is named by its URL.
type nodeFiles struct {
	*urlcache.Cache
	node  *cachenode.Node
	known *cacheKnown
}

// Warm implements urlcontrol.Files.
func (f nodeFiles) Warm(ctx context.Context, name string, tell func(urlcache.Warmth)) error {
	item, err := f.known.atURL(name)
	if err != nil {
		return err
	}
	if item == nil {
		return f.Cache.Warm(ctx, name, tell)
	}
	if err := f.node.Warm(ctx, item.Manifest.Root()); err != nil {
		return err
	}
	tell(urlcache.Warmth{Size: item.Manifest.Length(), Have: item.Manifest.Length()})
	return nil
}

// listenURLs has work take commands about files known by their URL as well.
func (p *cacheParts) listenURLs(opt cacheOptions, known *cacheKnown, work func(context.Context) error, log *slog.Logger) (func(context.Context) error, func()) {
	if p.urls == nil {
		return work, func() {}
	}
	s, err := urlcontrol.Listen(opt.urls.socket(), nodeFiles{p.urls, p.node, known}, log)
	if err != nil {
		log.Warn("files known by their URL cannot be warmed while the node runs", slog.Any("err", err))
		return work, func() {}
	}
	return together(work, s.Run), func() { _ = s.Close() }
}

// atURL returns the content that the catalogue has at a URL; nil when it knows none there.
func (k *cacheKnown) atURL(name string) (*cachenode.Item, error) {
	if u, ok := urlcache.Canonical(name); ok {
		if root, ok := k.FindOrigin(u); ok {
			return k.Find(root)
		}
	}
	return nil, nil
}

// warmURL brings a file that is known only by its URL: by the node that runs on the folder, or without one.
func warmURL(ctx context.Context, opt cacheOptions, name string, view *cacheView, log *slog.Logger) error {
	p := &urlProgress{view: view, name: name, began: time.Now()}
	err := urlcontrol.Warm(ctx, opt.urls.socket(), name, p.tell)
	if errors.Is(err, urlcontrol.ErrNobody) {
		err = warmURLHere(ctx, opt, name, p.tell, log)
	}
	if errors.Is(err, context.Canceled) {
		return interrupted(err)
	}
	if err != nil {
		return err
	}
	return view.warmFile(name, p.last)
}

// warmURLHere does so on a folder on which no node runs.
func warmURLHere(ctx context.Context, opt cacheOptions, name string, tell func(urlcache.Warmth), log *slog.Logger) (err error) {
	if len(opt.urls.allow) == 0 {
		return fault.WithHint(fault.New(fault.Refused, "keep %.100q: no origin is allowed", name),
			"allow it with --allow-origin; a file that describes content by its root is one whose name ends in .torrent")
	}
	lock, err := filelock.Acquire(ctx, opt.lock())
	if err != nil {
		return fault.WithHint(fmt.Errorf("keep %.100q in %s: %w", name, opt.dir, err),
			"the node that runs on this folder serves no files by their URL: start it with --allow-origin, or stop it first")
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	gate := httpfallback.NewGate(httpfallback.GateConfig{Rate: opt.origin, MaxAsks: opt.urls.streams, Log: log})
	defer gate.Close()
	urls, err := opt.urls.open(gate, opt.reserve, log)
	if err != nil {
		return err
	}
	live, end := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- urls.Run(live) }()
	err = urls.Warm(ctx, name, tell)
	end()
	return errors.Join(err, <-ended)
}

// urlProgress tells how it goes, once a second.
type urlProgress struct {
	view  *cacheView
	name  string
	began time.Time
	told  time.Time
	last  urlcache.Warmth
}

func (p *urlProgress) tell(w urlcache.Warmth) {
	p.last = w
	now := time.Now()
	if w.Have == w.Size || now.Sub(p.began) < time.Second || now.Sub(p.told) < time.Second {
		return
	}
	p.told = now
	p.view.fileProgress(p.name, w, now.Sub(p.began))
}

func (v *cacheView) fileProgress(name string, w urlcache.Warmth, took time.Duration) {
	if v.json {
		_ = printJSON(v.out, struct { // a reader that went away is noticed at the end
			Event   string  `json:"event"`
			File    string  `json:"file"`
			Bytes   int64   `json:"bytes"`
			Have    int64   `json:"have"`
			Seconds float64 `json:"seconds"`
		}{cachenode.Progress, name, w.Size, w.Have, took.Seconds()})
		return
	}
	fmt.Fprintf(v.err, "%3d%% of %s, %s/s\n", 100*w.Have/w.Size, sizeText(w.Size), sizeText(int64(float64(w.Have)/took.Seconds())))
}

func (v *cacheView) warmFile(name string, w urlcache.Warmth) error {
	if v.json {
		return printJSON(v.out, struct {
			Event string    `json:"event"`
			File  string    `json:"file"`
			Bytes int64     `json:"bytes"`
			Until time.Time `json:"until,omitzero"`
		}{"warm", name, w.Size, w.Until})
	}
	fresh := "the origin is asked each time whether it has changed"
	switch {
	case w.Until.IsZero():
		fresh = "it is content of the node's catalogue"
	case w.Until.After(time.Now()):
		fresh = "fresh until " + w.Until.Local().Format("2006-01-02 15:04")
	}
	_, err := fmt.Fprintf(v.out, "%s: %s are kept and checked\n  %s\n", name, sizeText(w.Size), fresh)
	return err
}
