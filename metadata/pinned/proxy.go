package pinned

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// connect opens a connection to addr, through a proxy if there is one. Errors are unavailable: who is at the other end is
// for the handshake to find out.
func (d *dialer) connect(ctx context.Context, network, addr string, proxy *url.URL) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if proxy == nil {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, fault.New(fault.Unavailable, "connect to %s: %w", addr, err)
		}
		return conn, nil
	}
	conn, err := d.dialProxy(ctx, network, proxy)
	if err != nil {
		return nil, fault.New(fault.Unavailable, "connect to the proxy %s: %w", proxy.Redacted(), err)
	}
	if err := tunnel(ctx, conn, addr, proxy); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// dialProxy connects to the proxy itself. An https proxy is verified as this machine does it: the pins are not its.
func (d *dialer) dialProxy(ctx context.Context, network string, proxy *url.URL) (net.Conn, error) {
	switch proxy.Scheme {
	case "http":
		return new(net.Dialer).DialContext(ctx, network, proxyAddr(proxy, "80"))
	case "https":
		roots, err := d.system()
		if err != nil {
			return nil, err
		}
		t := tls.Dialer{Config: &tls.Config{ServerName: proxy.Hostname(), MinVersion: tls.VersionTLS12, RootCAs: roots, Time: d.now}}
		return t.DialContext(ctx, network, proxyAddr(proxy, "443"))
	default:
		return nil, fault.WithHint(fault.New(fault.Usage, "scheme %q", proxy.Scheme), "use an http or https proxy")
	}
}

func proxyAddr(proxy *url.URL, port string) string {
	if p := proxy.Port(); p != "" {
		port = p
	}
	return net.JoinHostPort(proxy.Hostname(), port)
}

// tunnel asks the proxy to connect us with addr.
func tunnel(ctx context.Context, conn net.Conn, addr string, proxy *url.URL) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	if u := proxy.User; u != nil {
		password, _ := u.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)))
	}
	if err := req.Write(conn); err != nil {
		return fault.New(fault.Unavailable, "ask the proxy %s for %s: %w", proxy.Redacted(), addr, err)
	}
	r := bufio.NewReader(io.LimitReader(conn, maxHeaders))
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return fault.New(fault.Unavailable, "ask the proxy %s for %s: %w", proxy.Redacted(), addr, err)
	}
	resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusProxyAuthRequired:
		return fault.WithHint(fault.New(fault.Unavailable, "the proxy %s wants a user name and a password", proxy.Redacted()), "put them into HTTPS_PROXY, or let %s pass without a proxy (NO_PROXY)", addr)
	case resp.StatusCode != http.StatusOK:
		return fault.WithHint(fault.New(fault.Unavailable, "the proxy %s answers %d to a request for %s", proxy.Redacted(), resp.StatusCode, addr), "let the proxy connect to %s", addr)
	case r.Buffered() > 0:
		return fault.New(fault.Unavailable, "the proxy %s speaks before the server can", proxy.Redacted())
	}
	return nil
}
