package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// Options describes one demonstration.
type Options struct {
	Program string    // path of the dunlin binary; all parts run as processes of it
	File    string    // what is published; empty: the binary itself, packed as tar.zst
	Devices int       // how many, 1 to MaxDevices
	Dir     string    // where everything is written; must be empty
	Log     io.Writer // gets a line for each step, and what a process printed if it fails
	// Ready, if set, is called when every device has the update, while all processes still run; they are stopped when
	// it returns.
	Ready func(*Running) error
}

// Limits and rates of the demonstration.
const (
	MaxDevices = 50
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
	OriginBytes  int64    `json:"origin_bytes"`  // that the devices drew from the origin, by their own count
	OriginLogged int64    `json:"origin_logged"` // the same by the access logs of origin and depot
	ContentBytes int64    `json:"content_bytes"` // length of the payload
	Copies       float64  `json:"copies"`        // OriginBytes / ContentBytes; separate downloads would be one for each device
	SHA256       string   `json:"sha256"`        // of the file that was published, or of the one inside the archive
	Seconds      float64  `json:"seconds"`       // from the start of the devices to the last installation
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

// Running is where to look while everything runs.
type Running struct {
	Result   *Result
	Dir      string
	Depot    string   // URL of the metadata
	Origin   string   // URL of the content
	Controls []string // sockets of the agents, for dunlin status --control
}

// Run goes through the whole life of one update. It stops every process that it started before it returns.
func Run(ctx context.Context, o Options) (res *Result, err error) {
	if o.Devices < 1 || o.Devices > MaxDevices {
		return nil, fault.New(fault.Usage, "demo: %d devices, want 1 to %d", o.Devices, MaxDevices)
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &stage{Options: o, net: addresses(os.Getpid())}
	defer func() { err = errors.Join(err, s.wait()) }()
	defer cancel()
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"pack the payload", s.pack},
		{"publish it: keys, signature, signed catalogue", s.publish},
		{"start an origin behind a line of 16 MiB/s", s.startOrigin},
		{"make a depot that trusts the publisher", s.initDepot},
		{"approve the update for ring " + ringName, s.approve},
		{"start the depot", s.startDepot},
		{fmt.Sprintf("join %d devices", o.Devices), s.join},
		{"start them all at once", s.startAgents},
		{"wait until every device has installed it", s.waitInstalled},
	} {
		fmt.Fprintf(o.Log, "- %s\n", step.what)
		if err := step.do(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", step.what, err)
		}
	}
	if res, err = s.result(); err != nil {
		return nil, err
	}
	if o.Ready != nil {
		return res, o.Ready(s.running(res))
	}
	return res, nil
}

// running says where everything is.
func (s *stage) running(res *Result) *Running {
	r := &Running{Result: res, Dir: s.Dir, Depot: "https://" + s.depotTLS, Origin: "http://" + s.originAddr}
	for _, d := range s.devices {
		r.Controls = append(r.Controls, d.control)
	}
	return r
}

// path names a file of the demonstration.
func (s *stage) path(elem ...string) string {
	return filepath.Join(append([]string{s.Dir}, elem...)...)
}
