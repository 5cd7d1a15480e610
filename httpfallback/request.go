package httpfallback

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// Limits of one request.
const (
	maxRedirects = 3
	maxURL       = 8 << 10  // bytes
	maxErrorBody = 16 << 10 // bytes of an error page or a redirect that are read so that the connection lives on
)

// target is a URL and the rule about addresses that holds for it.
type target struct {
	url *url.URL
	way *http.Transport
}

// parseURL takes an absolute http or https URL without user and password (they would end up in logs).
func parseURL(raw string) (*url.URL, error) {
	if len(raw) > maxURL {
		return nil, fmt.Errorf("parse URL: longer than %d bytes", maxURL)
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, fmt.Errorf("parse URL: %w", err)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("parse URL %s: the scheme is neither http nor https", u.Redacted())
	case u.Hostname() == "":
		return nil, fmt.Errorf("parse URL %s: no host", u.Redacted())
	case u.User != nil:
		return nil, fmt.Errorf("parse URL %s: a user or password in the URL is not supported", u.Redacted())
	}
	u.Fragment, u.RawFragment = "", ""
	return u, nil
}

// label is the URL as logs show it: a query may hold a signature.
func label(u *url.URL) string {
	short := *u
	short.RawQuery = ""
	return short.Redacted()
}

// open sends a GET for t and follows redirects. byteRange is the value of Range, or empty. spent is told of each byte of
// a redirect's body. The response is whatever the last server said; its target is returned for the next request.
func (g *Gate) open(ctx context.Context, t target, byteRange string, spent func(n int)) (*http.Response, target, error) {
	for hop := 0; ; hop++ {
		resp, remote, err := g.once(ctx, http.MethodGet, t, byteRange)
		if err != nil {
			return nil, t, fmt.Errorf("get %s: %w", label(t.url), err)
		}
		if !isRedirect(resp.StatusCode) || g.near {
			return resp, t, nil
		}
		drain(resp, spent)
		if hop == maxRedirects {
			return nil, t, fmt.Errorf("get %s: more than %d redirects", label(t.url), maxRedirects)
		}
		if t, err = g.follow(t, resp, remote); err != nil {
			return nil, t, err
		}
	}
}

// once sends one request. remote is the address that answered, invalid behind a proxy.
func (g *Gate) once(ctx context.Context, method string, t target, byteRange string) (resp *http.Response, remote netip.Addr, err error) {
	header := make(http.Header)
	if byteRange != "" {
		header.Set("Range", byteRange)
	}
	return g.send(ctx, method, t, header)
}

// send sends one request with a header of its own, which it completes.
func (g *Gate) send(ctx context.Context, method string, t target, header http.Header) (resp *http.Response, remote netip.Addr, err error) {
	trace := &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) {
		if ap, err := netip.ParseAddrPort(c.Conn.RemoteAddr().String()); err == nil {
			remote = ap.Addr()
		}
	}}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), method, t.url.String(), nil)
	if err != nil {
		return nil, remote, err
	}
	req.Header = header
	// Said outright, because without the header a server may choose any coding (RFC 9110, 12.5.3).
	req.Header.Set("Accept-Encoding", "identity")
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", g.agent)
	}
	if resp, err = t.way.RoundTrip(req); err != nil {
		return nil, remote, err
	}
	if p, err := g.ways.dialer.proxy(req); err != nil || p != nil {
		remote = netip.Addr{}
	}
	return resp, remote, nil
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// follow makes the target of a redirect. Where it may lead depends on who sent it, not on where we began.
func (g *Gate) follow(t target, resp *http.Response, remote netip.Addr) (target, error) {
	loc, err := resp.Location()
	if err != nil {
		return t, fmt.Errorf("follow redirect of %s: %w", label(t.url), err)
	}
	u, err := parseURL(loc.String())
	if err != nil {
		return t, fmt.Errorf("follow redirect of %s: %w", label(t.url), err)
	}
	if behindProxy := !remote.IsValid(); behindProxy {
		if a, err := netip.ParseAddr(u.Hostname()); err == nil && g.ways.dialer.classify(a) != public {
			return t, fmt.Errorf("follow redirect of %s: %w", label(t.url), &ForbiddenError{u.Hostname(), a, g.ways.dialer.classify(a)})
		}
	}
	return target{u, g.ways.from(remote)}, nil
}

// drain reads the body of an answer that is of no use, if it is short, so that the connection can be used again.
func drain(resp *http.Response, spent func(n int)) {
	defer resp.Body.Close()
	if resp.ContentLength > maxErrorBody {
		return
	}
	var buf [4 << 10]byte
	for got := 0; got < maxErrorBody; {
		n, err := resp.Body.Read(buf[:])
		got += n
		spent(n)
		if err != nil {
			return
		}
	}
}

// asFault gives an error of a request its kind. An address that must not be used is policy; all else may go away.
func asFault(err error) error {
	var bad *ForbiddenError
	if errors.As(err, &bad) {
		return fault.WithHint(fault.Wrap(fault.Unavailable, err),
			"if %s is an origin of yours, name it in the configuration or on the command line", bad.Host)
	}
	return fault.Wrap(fault.Unavailable, err)
}
