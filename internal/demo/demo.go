package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// Options describes one demonstration.
type Options struct {
	Program string // path of the dunlin binary; all parts run as processes of it
	File    string // what is published; empty: the binary itself, packed as tar.zst
	Devices int    // how many, 1 to MaxDevices
	Dir     string // where everything is written; must be empty
	// Cache starts a cache node beside the devices.
	Cache bool
	// Load, if set, is the time between two updates that are published while Ready runs. It needs Cache.
	Load time.Duration
	Log  io.Writer // gets a line for each step, and what a process printed if it fails
	// Ready, if set, is called when every device has the update, while all processes still run; they are stopped when
	// it returns.
	Ready func(context.Context, *Running) error
}

// Limits and rates of the demonstration.
const (
	MaxDevices = 50
	MinLoad    = loadAhead
	OriginRate = 16 << 20 // bytes per second of the origin's line; an unshaped one would make the ratio a matter of chance

	publisherName = "acme"
	updateID      = "hello"
	updateVersion = "1.0"
	ringName      = "pilot"
	passphrase    = "a passphrase for a demonstration"

	installTimeout = 2 * time.Minute
	startTimeout   = 30 * time.Second
	pollEvery      = 50 * time.Millisecond
)

// Result is what came of it.
type Result struct {
	Devices      []Device `json:"devices"`
	Cache        *Device  `json:"cache,omitempty"` // the cache node; it installs nothing
	OriginBytes  int64    `json:"origin_bytes"`    // that devices and cache node drew from the origin, by their own count
	OriginLogged int64    `json:"origin_logged"`   // the same by the access logs of origin and depot
	ContentBytes int64    `json:"content_bytes"`   // length of the payload
	Copies       float64  `json:"copies"`          // OriginBytes / ContentBytes; separate downloads would be one for each device
	SHA256       string   `json:"sha256"`          // of the file that was published, or of the one inside the archive
	Seconds      float64  `json:"seconds"`         // from the start of the devices to the last installation
}

// Device is what one device did.
type Device struct {
	Name      string  `json:"name"`
	Addr      string  `json:"addr"`
	From      From    `json:"from"`
	Waste     int64   `json:"waste"`
	Seconds   float64 `json:"seconds"` // of the transfer
	SHA256    string  `json:"sha256"`  // of what lies at the destination now
	Installed bool    `json:"installed"`
}

// From is bytes by kind of source, waste included.
type From struct {
	Origin int64 `json:"origin"`
	Cache  int64 `json:"cache"`
	Peers  int64 `json:"peers"`
}

// Page is where a device or the cache node shows itself.
type Page struct {
	Name    string // of the device, or "cache node"
	Page    string // URL for people
	Metrics string // URL for Prometheus
	Control string // socket, for dunlin status --control; "" for the cache node
}

// Running is where to look while everything runs.
type Running struct {
	Result *Result
	Dir    string
	Depot  string // URL of the metadata
	Cache  string // URL of the cache node; "" without one
	Pages  []Page
	Origin string // URL of the content
}

// Run goes through the whole life of one update. It stops every process that it started before it returns.
func Run(ctx context.Context, o Options) (res *Result, err error) {
	switch {
	case o.Devices < 1 || o.Devices > MaxDevices:
		return nil, fault.New(fault.Usage, "demo: %d devices, want 1 to %d", o.Devices, MaxDevices)
	case o.Load != 0 && (!o.Cache || o.Load < MinLoad):
		return nil, fault.New(fault.Usage, "demo: an update every %v needs a cache node and at least %v", o.Load, MinLoad)
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &stage{Options: o, net: addresses(os.Getpid())}
	defer func() { err = errors.Join(err, s.wait()) }()
	defer cancel()
	for _, step := range s.steps() {
		fmt.Fprintf(o.Log, "- %s\n", step.what)
		if err := step.do(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", step.what, err)
		}
	}
	if res, err = s.result(); err != nil {
		return nil, err
	}
	if o.Ready != nil {
		return res, s.ready(ctx, res)
	}
	return res, nil
}

// step is one thing after the other.
type step struct {
	what string
	do   func(context.Context) error
}

func (s *stage) steps() []step {
	steps := []step{
		{"pack the payload", s.pack},
		{"publish it: keys, signature, signed catalogue", s.publish},
		{"start an origin behind a line of 16 MiB/s", s.startOrigin},
		{"make a depot that trusts the publisher", s.initDepot},
		{"approve the update for ring " + ringName, s.approve},
		{"start the depot", s.startDepot},
		{fmt.Sprintf("join %d devices", s.Devices), s.join},
	}
	if s.Cache {
		steps = append(steps, step{"join and start a cache node", s.startNode})
	}
	steps = append(steps,
		step{"start them all at once", s.startAgents},
		step{"wait until every device has installed it", s.waitInstalled})
	if s.Cache {
		steps = append(steps, step{"wait until the cache node has it", s.waitStored})
	}
	return steps
}

// ready shows what there is, and publishes meanwhile if that was asked for.
func (s *stage) ready(ctx context.Context, res *Result) error {
	g, ctx := errgroup.WithContext(ctx)
	ctx, cancel := context.WithCancel(ctx)
	g.Go(func() error {
		defer cancel()
		return s.Ready(ctx, s.running(res))
	})
	if s.Load != 0 {
		g.Go(func() error { return s.load(ctx) })
	}
	return g.Wait()
}

// running says where everything is.
func (s *stage) running(res *Result) *Running {
	r := &Running{Result: res, Dir: s.Dir, Depot: "https://" + s.depotTLS, Origin: "http://" + s.originAddr}
	for _, d := range s.devices {
		r.Pages = append(r.Pages, Page{d.name, "http://" + d.page + "/", "http://" + d.metrics + "/metrics", d.control})
	}
	if n := s.node; n != nil {
		r.Cache = "http://" + n.http
		r.Pages = append(r.Pages, Page{"cache node", "http://" + n.page + "/", "http://" + n.metrics + "/metrics", ""})
	}
	return r
}

// path names a file of the demonstration.
func (s *stage) path(elem ...string) string {
	return filepath.Join(append([]string{s.Dir}, elem...)...)
}
