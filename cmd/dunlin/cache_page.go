package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"

	"github.com/dunlin-project/dunlin/agent"
	"github.com/dunlin-project/dunlin/cachenode"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/internal/page"
)

// defaultCachePage is where a cache node has its own page; any free port will do while another program has that one.
const defaultCachePage = "127.0.0.1:7683"

func cachePageFlag() cli.Flag {
	return &cli.StringFlag{Name: "page", Value: defaultCachePage, Usage: "`IP:PORT` of a loopback address for the node's own page, or off; port 0 is any free one"}
}

// cacheSubject is a node as its page is about it.
type cacheSubject struct {
	*cachenode.Node
	swarm []string // where devices reach it
	group string
}

// Look implements page.Subject.
func (s cacheSubject) Look() page.Look {
	l := s.Node.Look()
	l.Version = buildVersion()
	l.Facts = append(l.Facts, page.Fact{Name: "Shares in group", Value: s.group})
	for _, a := range s.swarm {
		l.Facts = append(l.Facts, page.Fact{Name: "Devices reach it at", Value: a})
	}
	return l
}

// newCachePage binds the page of a node; nil for none.
func newCachePage(c *cli.Context, opt cacheOptions, p *cacheParts, log *slog.Logger) (*page.Page, error) {
	listen := c.String("page")
	if listen == agent.Off {
		return nil, nil
	}
	return page.New(page.Config{
		Listen: listen, Elsewhere: !c.IsSet("page"), Subject: cacheSubject{p.node, p.swarm.Addrs(), strings.Join(opt.groups, ", ")},
		History: filepath.Join(opt.dir, "history.json"), Log: log,
	})
}

// together does two works that last as long as the node; the end of one is that of both.
func together(a, b func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return a(ctx) })
		g.Go(func() error { return b(ctx) })
		return g.Wait()
	}
}

// checkCachePage says what is wrong with the flag before anything else is begun.
func checkCachePage(c *cli.Context) error {
	listen := c.String("page")
	if listen == agent.Off {
		return nil
	}
	if err := page.CheckListen(listen); err != nil {
		return fault.WithHint(fault.New(fault.Usage, "%s: --page: %w", c.Command.FullName(), err), "%s", fault.Hint(err))
	}
	return nil
}
