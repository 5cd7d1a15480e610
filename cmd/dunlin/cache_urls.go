package main

import (
	"log/slog"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/cachenode/urlcache"
	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/internal/fault"
)

// defaultURLSize is how much a cache node keeps of what is known by its URL alone.
const defaultURLSize = "20G"

func urlCacheFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "allow-origin", Usage: "serve files of `HOST[:PORT]` by their URL, /PATH?cacheHostOrigin=HOST; *.NAME for all below a name, https:// before it to fetch by TLS; may be repeated"},
		&cli.StringFlag{Name: "url-size", Value: defaultURLSize, Usage: "keep at most `SIZE` of such files"},
		&cli.IntFlag{Name: "url-streams", Usage: "`NUMBER` of requests for such files that may be under way at once, beside those of --max-streams (default: as many, 2 at least)"},
	}
}

// urlCacheOptions is what the command line says about files that are known by their URL alone.
type urlCacheOptions struct {
	dir     string
	allow   []urlcache.Origin // none: they are not served
	size    int64
	streams int // 0: the default
}

func urlCacheOptionsOf(c *cli.Context, dir string) (opt urlCacheOptions, err error) {
	opt.dir = filepath.Join(dir, "urls")
	for _, text := range c.StringSlice("allow-origin") {
		o, err := urlcache.ParseOrigin(text)
		if err != nil {
			return opt, fault.WithHint(fault.New(fault.Usage, "%s: --allow-origin: %w", c.Command.FullName(), err), "%s", fault.Hint(err))
		}
		opt.allow = append(opt.allow, o)
	}
	if opt.streams = c.Int("url-streams"); c.IsSet("url-streams") && opt.streams < urlcache.MinStreams {
		return opt, fault.New(fault.Usage, "%s: --url-streams: %d is less than %d", c.Command.FullName(), opt.streams, urlcache.MinStreams)
	}
	if most := c.Int("max-streams"); opt.streams == 0 && most > 0 {
		opt.streams = max(most, urlcache.MinStreams)
	}
	if len(opt.allow) == 0 {
		return opt, nil
	}
	if opt.size, err = parseSize(c.String("url-size")); err != nil {
		return opt, fault.New(fault.Usage, "%s: --url-size: %w", c.Command.FullName(), err)
	}
	if opt.size < urlcache.MinSize {
		return opt, fault.New(fault.Usage, "%s: --url-size: at least %s are needed", c.Command.FullName(), sizeText(urlcache.MinSize))
	}
	return opt, nil
}

// open opens the cache of such files; nil when none are served.
func (o urlCacheOptions) open(gate *httpfallback.Gate, reserve int64, log *slog.Logger) (*urlcache.Cache, error) {
	if len(o.allow) == 0 {
		return nil, nil
	}
	return urlcache.New(urlcache.Config{Dir: o.dir, Allow: o.allow, Door: gate, Streams: o.streams, Size: o.size, Reserve: reserve, Log: log})
}
