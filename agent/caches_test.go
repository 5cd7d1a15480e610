package agent

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"github.com/dunlin-project/dunlin/httpfallback/cachehost"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

// onceBy runs one cycle by way of caching nodes, as the settings name them.
func (d *testDevice) onceBy(find func(ctx context.Context, hosts *cachehost.Hosts, group string)) (Status, error) {
	d.w.t.Helper()
	log := slog.New(slog.NewTextHandler(&d.log, nil))
	hosts, err := CacheHosts(d.cfg, "test", log)
	if err != nil {
		d.w.t.Fatal(err)
	}
	opt := Options{OpenSwarm: d.swarm, Caches: hosts, Version: "test", Log: log}
	if hosts != nil {
		defer hosts.Close()
		opt.FindCaches = func(ctx context.Context, group string) {
			if find != nil {
				find(ctx, hosts, group)
			}
		}
	}
	a, err := New(d.cfg, opt)
	if err != nil {
		d.w.t.Fatal(err)
	}
	err = a.Once(d.w.t.Context())
	return a.Status(), err
}

// TestCachingNodes: a device that shares nothing takes an update from the node that its organisation has signed, that its
// settings name or that was found, and from the origin where the setting says so. A node is never asked for what devices may
// not give each other.
func TestCachingNodes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change  func(cfg *Config, node string)
		signed  bool
		peering bool
		cached  bool
	}{
		"signed": {nil, true, true, true},
		"named":  {func(cfg *Config, node string) { cfg.CacheHosts = []string{node} }, false, true, true},
		"signed, only named": {func(cfg *Config, _ string) {
			cfg.CacheHosts, cfg.CacheHostSource = []string{"http://127.0.0.1:1"}, "static"
		}, true, true, false},
		"off":              {func(cfg *Config, _ string) { cfg.CacheHostSource = "off" }, true, true, false},
		"not to be shared": {nil, true, false, false},
		"nobody knows it":  {nil, false, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, node := newWorld(t), newOrigin(t)
			b := payload(3, 300<<10)
			u := w.release("tool", "1", 1, b, nil)
			w.approve(u, func(a *metadata.Approval) { a.Peering = c.peering })
			node.add(u.Root, b)
			if c.signed {
				f := w.org.Fleet
				f.Caches = []string{node.URL}
				w.org.SetFleet(f)
				w.publish()
			}
			d := w.device(func(cfg *Config) {
				if c.change != nil {
					c.change(cfg, node.URL)
				}
			})
			s, err := d.onceBy(nil)
			if err != nil {
				t.Fatalf("%v\n%s", err, d.log.String())
			}
			d.has("tool", b)
			want := Transfer{}
			if want.From.Cache = int64(len(b)); !c.cached {
				want.From.Cache, want.From.Origin = 0, int64(len(b))
			}
			if got := entry(t, s, "tool", "1").Transfer; got == nil || got.From != want.From || (node.bytes() > 0) != c.cached || (w.origin.bytes() > 0) == c.cached {
				t.Errorf("transfer %+v; the node sent %d bytes, the origin %d", got, node.bytes(), w.origin.bytes())
			}
		})
	}
}

// TestTheSearchForNodes is for the group that the organisation has signed, ends with the agent, and is not made where a swarm
// searches or nobody wants it.
func TestTheSearchForNodes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"sharing off":   {nil, "lan"},
		"another group": {func(c *Config) { c.Group = "berlin" }, "berlin"},
		"sharing":       {func(c *Config) { c.Sharing = SharingLAN }, ""},
		"no discovery":  {func(c *Config) { c.Discovery = SwitchOff }, ""},
		"only signed":   {func(c *Config) { c.CacheHostSource = cachehost.Depot }, ""},
	} {
		w := newWorld(t)
		d := w.device(c.change)
		d.swarm = swarms(new([]*memSwarm))
		var mu sync.Mutex
		var searched string
		ended := true
		if _, err := d.onceBy(func(ctx context.Context, _ *cachehost.Hosts, group string) {
			mu.Lock()
			searched, ended = searched+group, false
			mu.Unlock()
			<-ctx.Done()
			mu.Lock()
			ended = true
			mu.Unlock()
		}); fault.Of(err) != 0 && fault.Of(err) != fault.Unavailable {
			t.Errorf("%s: %v", name, err)
		}
		mu.Lock()
		if searched != c.want || !ended {
			t.Errorf("%s: searched for %q, want %q; ended %v", name, searched, c.want, ended)
		}
		mu.Unlock()
	}
}
