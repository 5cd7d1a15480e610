package urlcache

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/dunlin-project/dunlin/internal/fault"
)

const (
	maxHost  = 253 // bytes of a host's name
	maxLabel = 63  // bytes of a part of it
)

// Origin is one origin that the node may fetch from, or all whose names end alike. ParseOrigin makes it.
type Origin struct {
	scheme string
	host   string // lower case; an address without brackets; of a wildcard what follows the star, with its dot
	wild   bool
	port   int // never 0
}

// ParseOrigin reads [https://]HOST[:PORT], where HOST is a name, an address, or *.NAME for all names below one. An address
// that is not of the public Internet is asked only where it stands on the list itself: names never lead to one.
func ParseOrigin(text string) (Origin, error) {
	o := Origin{scheme: "http"}
	rest := text
	if scheme, after, ok := strings.Cut(text, "://"); ok {
		o.scheme, rest = scheme, after
	}
	name, isWild := strings.CutPrefix(rest, "*.")
	host, port, ok := parseHost(name)
	_, isAddr := netip.ParseAddr(host)
	switch {
	case o.scheme != "http" && o.scheme != "https":
		return o, badOrigin(text, "the scheme is neither http nor https")
	case !ok:
		return o, badOrigin(text, "it is not [https://]HOST[:PORT]")
	case isWild && (isAddr == nil || !strings.Contains(host, ".")):
		return o, badOrigin(text, "a star stands for what is before a name of two parts at least")
	}
	o.host, o.port, o.wild = host, port, isWild
	if isWild {
		o.host = "." + host
	}
	if o.port == 0 {
		o.port = defaultPort(o.scheme)
	}
	return o, nil
}

func badOrigin(text, why string) error {
	return fault.WithHint(fault.New(fault.Usage, "origin %.80q: %s", text, why), "write for example cdn.example.com, *.example.com or https://10.0.0.5:8443")
}

func defaultPort(scheme string) int {
	if scheme == "https" {
		return 443
	}
	return 80
}

// fits reports whether a host is this origin. Port 0 is the default one of the origin's scheme.
func (o Origin) fits(host string, port int) bool {
	if port == 0 {
		port = defaultPort(o.scheme)
	}
	if o.wild {
		// An address has no names below it, and "1.2" below a star could be one.
		if _, err := netip.ParseAddr(host); err == nil {
			return false
		}
		return port == o.port && len(host) > len(o.host) && strings.HasSuffix(host, o.host)
	}
	return port == o.port && host == o.host
}

// list is the origins that are allowed, best first.
type list []Origin

// find returns the first origin that fits.
func (l list) find(host string, port int) (Origin, bool) {
	i := slices.IndexFunc(l, func(o Origin) bool { return o.fits(host, port) })
	if i < 0 {
		return Origin{}, false
	}
	return l[i], true
}

// allow refuses a URL that is not on the list, for httpfallback.Ask: the scheme must be the origin's too.
func (l list) allow(u *url.URL) error {
	host, port, ok := parseHost(u.Host)
	if ok {
		if port == 0 {
			port = defaultPort(u.Scheme)
		}
		ok = slices.ContainsFunc(l, func(o Origin) bool { return o.scheme == u.Scheme && o.fits(host, port) })
	}
	if ok {
		return nil
	}
	return fault.WithHint(fault.New(fault.Refused, "%.80q is not an origin that this node may ask", u.Host), "allow it with --allow-origin")
}

// parseHost takes HOST or HOST:PORT, nothing before and nothing after. The host is a name in lower case, or an address in its
// one usual form, without brackets; port 0 is none. Forms of addresses that only some libraries take for one (0x7f.1, 127.1,
// 2130706433), zones, and IPv4 in IPv6 are no hosts here: who judges and who connects must mean the same.
func parseHost(text string) (host string, port int, ok bool) {
	host, rest := text, ""
	if after, isV6 := strings.CutPrefix(text, "["); isV6 {
		var closed bool
		if host, rest, closed = strings.Cut(after, "]"); !closed {
			return "", 0, false
		}
		a, err := netip.ParseAddr(host)
		if err != nil || !a.Is6() || a.Is4In6() || a.Zone() != "" {
			return "", 0, false
		}
		host = a.String()
	} else {
		if i := strings.IndexByte(text, ':'); i >= 0 {
			host, rest = text[:i], text[i:]
		}
		host = strings.ToLower(host)
		if !isName(host) && !isV4(host) {
			return "", 0, false
		}
	}
	if rest == "" {
		return host, 0, true
	}
	digits, isPort := strings.CutPrefix(rest, ":")
	n, err := strconv.ParseUint(digits, 10, 16)
	if !isPort || err != nil || n == 0 || digits[0] < '1' || digits[0] > '9' {
		return "", 0, false
	}
	return host, int(n), true
}

func isV4(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.Is4()
}

// isName reports whether a host is a name: its last part begins with a letter and is no hexadecimal number.
func isName(host string) bool {
	if len(host) > maxHost {
		return false
	}
	labels := strings.Split(host, ".")
	for _, l := range labels {
		if len(l) == 0 || len(l) > maxLabel || l[0] == '-' || l[len(l)-1] == '-' {
			return false
		}
		if strings.IndexFunc(l, func(c rune) bool {
			return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_'
		}) >= 0 {
			return false
		}
	}
	last := labels[len(labels)-1]
	return last[0] >= 'a' && last[0] <= 'z'
}
