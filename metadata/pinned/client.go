package pinned

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
)

const (
	connectTimeout   = 10 * time.Second // to a server or proxy, without TLS
	handshakeTimeout = 15 * time.Second
	headerTimeout    = 30 * time.Second
	maxHeaders       = 64 << 10 // bytes
)

// Config says which servers are believed to be the ones they should be.
type Config struct {
	CA   []byte // PEM, one certificate: the only authority; the system's are not asked
	Pins []Pin  // at least one; a key in every accepted chain must be among them

	Now   func() time.Time                 // for the validity of certificates; nil is time.Now
	Floor time.Time                        // a certificate that is not valid yet may be so at this time, if it is later than Now
	Proxy func(*url.URL) (*url.URL, error) // nil takes HTTPS_PROXY and NO_PROXY from the environment

	// system returns the authorities that this machine trusts; only for the text of an error. Tests set it.
	system func() (*x509.CertPool, error)
}

// NewClient returns a client that speaks TLS 1.3 with servers of the pinned authority, and with nobody else: no plain
// HTTP, no redirects, no resumed sessions. There is no way to switch the checks off.
//
// Errors are typed (PinError, TimeError, HostError, UsageError) and untrusted when somebody else answered;
// unavailable when nobody did. A proxy is spoken to with CONNECT, and the pins stay bound to the server behind it.
func NewClient(c Config) (*http.Client, error) {
	d, err := newDialer(c)
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Transport: &http.Transport{
			DialTLSContext:         d.dial,
			DialContext:            refusePlain,
			DisableCompression:     true,
			ResponseHeaderTimeout:  headerTimeout,
			MaxResponseHeaderBytes: maxHeaders,
			IdleConnTimeout:        headerTimeout,
			MaxIdleConnsPerHost:    2,
		},
		CheckRedirect: RefuseRedirect,
	}, nil
}

func refusePlain(_ context.Context, _, addr string) (net.Conn, error) {
	return nil, fault.New(fault.Refused, "connect to %s: metadata is asked for over pinned TLS only", addr)
}

// RefuseRedirect is for http.Client.CheckRedirect: pins belong to the endpoint that was configured, and no honest one sends
// elsewhere.
func RefuseRedirect(req *http.Request, _ []*http.Request) error {
	return fault.New(fault.Unavailable, "the server sends us on to %s, which is not followed", req.URL.Host)
}

// dialer makes pinned connections. It does not change.
type dialer struct {
	pins   []Pin
	floor  time.Time
	roots  *x509.CertPool
	now    func() time.Time
	proxy  func(*url.URL) (*url.URL, error)
	system func() (*x509.CertPool, error)
}

func newDialer(c Config) (*dialer, error) {
	ca, err := ParseAuthority(c.CA)
	if err != nil {
		return nil, err
	}
	if len(c.Pins) == 0 {
		return nil, fault.New(fault.Usage, "configure pinned TLS: there is no pin")
	}
	d := &dialer{pins: slices.Clone(c.Pins), floor: c.Floor, roots: x509.NewCertPool(), now: c.Now, proxy: c.Proxy, system: c.system}
	d.roots.AddCert(ca)
	if d.now == nil {
		d.now = time.Now
	}
	if d.proxy == nil {
		d.proxy = EnvironmentProxy
	}
	if d.system == nil {
		d.system = x509.SystemCertPool
	}
	return d, nil
}

// EnvironmentProxy takes the proxy for a URL from HTTPS_PROXY, HTTP_PROXY and NO_PROXY.
func EnvironmentProxy(u *url.URL) (*url.URL, error) {
	return http.ProxyFromEnvironment(&http.Request{URL: u})
}

// dial is http.Transport.DialTLSContext. A clock that lags behind what is known for sure would take every certificate for
// one of the future, so such a one is looked at again at the floor.
func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	now := d.now()
	conn, err := d.dialAt(ctx, network, addr, now)
	var early *TimeError
	if errors.As(err, &early) && now.Before(early.NotBefore) && now.Before(d.floor) {
		return d.dialAt(ctx, network, addr, d.floor)
	}
	return conn, err
}

// dialAt does the handshake here, and leaves it not to the transport, because the transport would hold an https proxy to
// the pins of the server behind it.
func (d *dialer) dialAt(ctx context.Context, network, addr string, now time.Time) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fault.New(fault.Usage, "connect to %s: %w", addr, err)
	}
	proxy, err := d.proxy(&url.URL{Scheme: "https", Host: addr})
	if err != nil {
		return nil, fault.New(fault.Usage, "connect to %s: proxy: %w", addr, err)
	}
	raw, err := d.connect(ctx, network, addr, proxy)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, d.config(host, now))
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, attempt{d, addr, host, proxy, now}.explain(err)
	}
	return conn, nil
}

// config keeps all normal checks and adds to them. VerifyConnection also runs when a session is resumed, and looks at
// verified chains: a certificate that the other side merely sends along proves nothing.
func (d *dialer) config(host string, now time.Time) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    d.roots,
		ServerName: host,
		Time:       func() time.Time { return now },
		NextProtos: []string{"http/1.1"},
		VerifyConnection: func(cs tls.ConnectionState) error {
			return d.verify(cs.VerifiedChains)
		},
	}
}

var (
	errNoPin   = errors.New("no key of the certificate's chain is pinned")
	errNoUsage = errors.New("the certificate is not one for servers")
)

func (d *dialer) verify(chains [][]*x509.Certificate) error {
	if len(chains) == 0 {
		return errNoPin
	}
	// The standard library accepts a certificate that says nothing about its use.
	if !slices.Contains(chains[0][0].ExtKeyUsage, x509.ExtKeyUsageServerAuth) {
		return errNoUsage
	}
	for _, chain := range chains {
		for _, c := range chain {
			if slices.Contains(d.pins, Of(c)) {
				return nil
			}
		}
	}
	return errNoPin
}
