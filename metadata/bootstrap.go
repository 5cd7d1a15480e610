package metadata

import (
	"context"
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/pinned"
	"github.com/dunlin-project/dunlin/metadata/tuf"
)

const (
	plainTimeout = 30 * time.Second // for the headers of an answer
	plainHeaders = 64 << 10         // bytes
)

// Hints of joining.
const (
	whatAnswers = "look at what the server really answers: a portal's page, an error page, an empty file?"
	whatIsRight = "compare with what `dunlin depot init` printed; somebody may be in between"
)

// Joined is what joining gives a device.
type Joined struct {
	Token  *Token
	Anchor []byte // the approvals' root file that the token names
	CA     []byte // PEM of the depot's authority that the token names
}

// Bootstrap follows a token: it gets the depot's authority over plain HTTP and compares its key with the token before
// anything else, then the approvals' root over pinned TLS, and compares its hash. Nothing of what it returns rests on the
// network. proxy may be nil, for the environment's.
func Bootstrap(ctx context.Context, t *Token, now time.Time, proxy func(*url.URL) (*url.URL, error)) (*Joined, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	ca, err := bootstrapCA(ctx, t, proxy)
	if err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	root, err := bootstrapRoot(ctx, t, ca, now, proxy)
	if err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	return &Joined{t, root, ca}, nil
}

func bootstrapCA(ctx context.Context, t *Token, proxy func(*url.URL) (*url.URL, error)) ([]byte, error) {
	client := plainClient(proxy)
	defer client.CloseIdleConnections()
	var sources []tuf.Source
	for _, base := range t.Content {
		sources = append(sources, tuf.NewHTTP(base, client))
	}
	var ca []byte
	err := fetchAny(ctx, sources, "ca.pem", MaxAuthority, func(b []byte) error {
		ca = b
		return checkAuthority(b, t.CA)
	})
	return ca, err
}

// checkAuthority compares the key of an authority with the token's. Bytes that do not even look like a certificate are a
// server that does not work.
func checkAuthority(b []byte, want Pin) error {
	if block, _ := pem.Decode(b); block == nil && !strings.Contains(string(b), "CERTIFICATE") {
		return fault.WithHint(fault.New(fault.Unavailable, "%d bytes that are no certificate: %.60q", len(b), b), whatAnswers)
	}
	ca, err := pinned.ParseAuthority(b)
	if err != nil {
		return fault.WithHint(fault.New(fault.Untrusted, "%w", err), whatIsRight)
	}
	if got := PinOf(ca); got != want {
		return fault.WithHint(fault.New(fault.Untrusted, "the authority there has the key %s, the token names %s", got, want), whatIsRight)
	}
	return nil
}

func bootstrapRoot(ctx context.Context, t *Token, ca []byte, now time.Time, proxy func(*url.URL) (*url.URL, error)) ([]byte, error) {
	sources, done, err := endpoints{t.Depots, ca, []Pin{t.CA}, proxy}.open(now, time.Time{})
	if err != nil {
		return nil, err
	}
	defer done()
	var root []byte
	err = fetchAny(ctx, sources(ApprovalsPath), MetadataFile("root", t.RootVersion), tuf.MaxRootSize, func(b []byte) error {
		root = b
		return checkAnchor(b, t, now)
	})
	return root, err
}

// checkAnchor compares a root file with the token, and makes sure that it is one.
func checkAnchor(b []byte, t *Token, now time.Time) error {
	if sum := sha256.Sum256(b); sum != [32]byte(t.Root) {
		err := fmt.Errorf("the approvals' root there has the SHA-256 %x, the token names %s", sum, t.Root)
		if !tuf.Recognisable(b) {
			return fault.WithHint(fault.Wrap(fault.Unavailable, err), whatAnswers)
		}
		return fault.WithHint(fault.Wrap(fault.Untrusted, err), "ask for a new token; if it says the same, the depot is not the one it was")
	}
	_, err := tuf.New(tuf.Config{Anchor: b}, now)
	return err
}

// plainClient asks over plain HTTP, for what proves itself.
func plainClient(proxy func(*url.URL) (*url.URL, error)) *http.Client {
	if proxy == nil {
		proxy = pinned.EnvironmentProxy
	}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  func(r *http.Request) (*url.URL, error) { return proxy(r.URL) },
			DisableCompression:     true,
			ResponseHeaderTimeout:  plainTimeout,
			MaxResponseHeaderBytes: plainHeaders,
		},
		CheckRedirect: pinned.RefuseRedirect,
	}
}
