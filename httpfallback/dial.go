package httpfallback

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Limits of connections.
const (
	dialTimeout     = 10 * time.Second
	nearDialTimeout = 2 * time.Second
	tlsTimeout      = 10 * time.Second
	idleTimeout     = 60 * time.Second
	maxHeaderBytes  = 64 << 10
	maxIdlePerHost  = 16
	maxIdleAltogher = 64
)

// reach says how near an address is. The nearer, the less a stranger may send us there.
type reach uint8

const (
	public    reach = iota // the Internet
	private                // an organisation's own networks
	loopback               // this machine
	forbidden              // link-local, multicast, unspecified: only where somebody wrote the very address down
)

func (r reach) String() string {
	return [...]string{"public", "private", "loopback", "link-local or reserved"}[r]
}

// nearby lists the networks that are not public beyond those net/netip knows by name (IANA special-purpose registries).
// Nothing writes to it.
var nearby = []struct {
	net   netip.Prefix
	reach reach
}{
	{netip.MustParsePrefix("0.0.0.0/8"), forbidden},
	{netip.MustParsePrefix("100.64.0.0/10"), private}, // carrier-grade NAT
	{netip.MustParsePrefix("192.0.0.0/24"), private},
	{netip.MustParsePrefix("192.0.2.0/24"), private},
	{netip.MustParsePrefix("198.18.0.0/15"), private}, // benchmarks
	{netip.MustParsePrefix("198.51.100.0/24"), private},
	{netip.MustParsePrefix("203.0.113.0/24"), private},
	{netip.MustParsePrefix("240.0.0.0/4"), forbidden},
	{netip.MustParsePrefix("64:ff9b:1::/48"), private}, // local NAT64
	{netip.MustParsePrefix("100::/64"), forbidden},
	{netip.MustParsePrefix("2001::/32"), private}, // Teredo and 6to4 may hide any IPv4 address
	{netip.MustParsePrefix("2002::/16"), private},
	{netip.MustParsePrefix("2001:db8::/32"), private},
	{netip.MustParsePrefix("fec0::/10"), private},
}

// classify says how near an address is.
func classify(a netip.Addr) reach {
	a = a.Unmap().WithZone("")
	if nat64 := netip.MustParsePrefix("64:ff9b::/96"); nat64.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	switch {
	case a.IsLoopback():
		return loopback
	case a.IsPrivate():
		return private
	case !a.IsGlobalUnicast(): // unspecified, multicast, link-local, broadcast
		return forbidden
	}
	for _, n := range nearby {
		if n.net.Contains(a) {
			return n.reach
		}
	}
	return public
}

// ways are the transports of a gate, one for each rule about addresses: a connection that one rule allowed is never
// used again under another.
type ways struct {
	configured *http.Transport    // to what the user or the organisation wrote down
	led        [3]*http.Transport // to what somebody at that reach named: a publisher's hint, a redirect
	dialer     *dialer
}

func newWays(cfg GateConfig) ways {
	d := &dialer{net: net.Dialer{Timeout: dialTimeout, Resolver: cfg.Resolver}, classify: classify, proxy: cfg.Proxy}
	switch {
	case cfg.Near:
		d.net.Timeout = nearDialTimeout
		d.proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	case d.proxy == nil:
		d.proxy = http.ProxyFromEnvironment
	}
	d.host, _ = os.Hostname()
	w := ways{configured: d.transport(cfg, d.ruleConfigured), dialer: d}
	for from := range w.led {
		w.led[from] = d.transport(cfg, func(string) rule { return ruleLed(reach(from)) })
	}
	return w
}

func (w ways) close() {
	w.configured.CloseIdleConnections()
	for _, t := range w.led {
		t.CloseIdleConnections()
	}
}

// from returns the transport for a URL that the server at addr named. An invalid addr (a proxy stood between) is taken
// for a public one.
func (w ways) from(addr netip.Addr) *http.Transport {
	if !addr.IsValid() {
		return w.led[public]
	}
	return w.led[min(w.dialer.classify(addr), loopback)]
}

// rule says whether a connection to an address may be made.
type rule func(addr netip.Addr, r reach) bool

// dialer makes connections and judges the address after DNS has spoken.
type dialer struct {
	net      net.Dialer
	host     string // this machine's name
	classify func(netip.Addr) reach
	proxy    func(*http.Request) (*url.URL, error)
	proxies  sync.Map // host:port of each proxy that was chosen
}

// ruleConfigured is for a host that somebody we trust wrote down: an address is taken as it stands; a name may lead to
// any network but not to a link-local address (a cloud's metadata service), and to this machine only when the name says
// so.
func (d *dialer) ruleConfigured(host string) rule {
	if literal, err := netip.ParseAddr(host); err == nil {
		return func(addr netip.Addr, _ reach) bool { return addr == literal.Unmap().WithZone("") }
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	first, _, _ := strings.Cut(host, ".")
	own, _, _ := strings.Cut(strings.ToLower(d.host), ".")
	local := host == "localhost" || strings.HasSuffix(host, ".localhost") || own != "" && first == own
	return func(_ netip.Addr, r reach) bool { return r <= private || r == loopback && local }
}

// ruleLed is for a host that a server at the given reach named: nothing nearer than the server itself.
func ruleLed(from reach) rule {
	return func(_ netip.Addr, r reach) bool { return r <= from }
}

func (d *dialer) transport(cfg GateConfig, rules func(host string) rule) *http.Transport {
	conf := cfg.TLS.Clone()
	if conf == nil {
		conf = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	t := &http.Transport{
		Proxy: d.chooseProxy,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return d.dial(ctx, network, addr, rules)
		},
		TLSClientConfig:        conf,
		TLSHandshakeTimeout:    tlsTimeout,
		DisableCompression:     true,
		MaxIdleConns:           maxIdleAltogher,
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		Protocols:              new(http.Protocols),
	}
	// One request, one connection: a cut range then wastes no more than one socket's buffers. With HTTP/2 a stream's
	// window of some MiB would be under way. The buffer is left to the kernel, which fits it to the rate we read at; a
	// fixed one (at most net.core.rmem_max, 208 KiB by default) would make long links slow.
	t.Protocols.SetHTTP1(true)
	return t
}

func (d *dialer) chooseProxy(req *http.Request) (*url.URL, error) {
	u, err := d.proxy(req)
	if err == nil && u != nil {
		d.proxies.Store(hostPort(u), true)
	}
	return u, err
}

func (d *dialer) dial(ctx context.Context, network, addr string, rules func(host string) rule) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	nd := d.net
	if _, isProxy := d.proxies.Load(addr); !isProxy {
		allow := rules(host)
		nd.ControlContext = func(_ context.Context, _, resolved string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(resolved)
			if err != nil {
				return fmt.Errorf("check address %s: %w", resolved, err)
			}
			a := ap.Addr().Unmap().WithZone("")
			if r := d.classify(a); !allow(a, r) {
				return &ForbiddenError{Host: host, Addr: a, what: r}
			}
			return nil
		}
	}
	return nd.DialContext(ctx, network, addr)
}

// ForbiddenError is the error of an address that a URL or a redirect must not lead to.
type ForbiddenError struct {
	Host string
	Addr netip.Addr
	what reach
}

func (e *ForbiddenError) Error() string {
	return fmt.Sprintf("%s leads to %v, a %v address, and nobody here wrote that down", e.Host, e.Addr, e.what)
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "80"
		switch u.Scheme {
		case "https":
			port = "443"
		case "socks5", "socks5h":
			port = "1080"
		}
	}
	return net.JoinHostPort(u.Hostname(), port)
}
