package metadata

import (
	"context"
	"log/slog"
	"net/url"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// ClientConfig says whom a device asks and what it believes.
type ClientConfig struct {
	Dir    string   // private folder for the verified metadata; made if missing
	Anchor []byte   // a root file of the approvals: the trust anchor
	Depots []string // base URLs of depots, https or file, tried in order; at least one
	CA     []byte   // PEM, one certificate: the only authority for the https ones
	Pins   []Pin    // at least one with https
	Ring   string   // the device's ring; empty takes every ring

	Proxy func(*url.URL) (*url.URL, error) // nil takes HTTPS_PROXY and NO_PROXY from the environment
	Log   *slog.Logger                     // nil discards
}

// Client fetches what Open checks. One goroutine at a time may call Sync.
type Client struct{ cfg ClientConfig }

// NewClient checks the configuration. It asks nobody.
func NewClient(cfg ClientConfig) (*Client, error) { return &Client{cfg}, nil }

// Sync brings approvals and catalogues up to date and returns the view of them, and the bundle it was made from.
//
// When the depot cannot be reached, the last good view is returned beside the error, if it has not run out: a caller
// looks at both. After any other error the view is nil.
func (c *Client) Sync(ctx context.Context, now time.Time) (*View, Bundle, error) {
	return nil, Bundle{}, fault.New(fault.Unavailable, "sync: not built yet")
}

// Layer fetches and proves the piece layer of content. A layer that does not lead to the root is untrusted.
func (c *Client) Layer(ctx context.Context, content piecehash.Content) (*piecehash.Manifest, error) {
	return nil, fault.New(fault.Unavailable, "fetch layer: not built yet")
}

// MirrorConfig says which publisher's catalogue a depot mirrors.
type MirrorConfig struct {
	Dir   string // private folder for the verified metadata; made if missing
	Trust *Trust
	Proxy func(*url.URL) (*url.URL, error) // nil takes HTTPS_PROXY and NO_PROXY from the environment
	Log   *slog.Logger                     // nil discards
}

// Mirror fetches one publisher's catalogue straight from the publisher. One goroutine at a time may call Sync.
type Mirror struct{ cfg MirrorConfig }

// NewMirror checks the configuration. It asks nobody.
func NewMirror(cfg MirrorConfig) (*Mirror, error) { return &Mirror{cfg}, nil }

// Sync brings the catalogue up to date. Its Files are to be served byte for byte.
func (m *Mirror) Sync(ctx context.Context, now time.Time) (*Catalogue, error) {
	return nil, fault.New(fault.Unavailable, "sync: not built yet")
}

// Layer fetches and proves the piece layer of content from the publisher.
func (m *Mirror) Layer(ctx context.Context, content piecehash.Content) (*piecehash.Manifest, error) {
	return nil, fault.New(fault.Unavailable, "fetch layer: not built yet")
}

// Joined is what joining gives a device.
type Joined struct {
	Token  *Token
	Anchor []byte // the approvals' root file that the token names
	CA     []byte // PEM of the depot's authority that the token names
}

// Bootstrap follows a token: it gets the depot's authority and compares it with the token before anything else, then the
// approvals' root over pinned TLS, and compares that too.
func Bootstrap(ctx context.Context, t *Token, now time.Time) (*Joined, error) {
	return nil, fault.New(fault.Unavailable, "join: not built yet")
}
