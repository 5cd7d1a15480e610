package urlcache

import (
	"net/url"
	"strings"
)

// Canonical returns a URL of http or https in the one form that all its spellings have (RFC 3986, 6.2.2 and 6.2.3): scheme and
// host in lower case, no default port, no dot segments, in the path no escape of what needs none and the others in upper case.
// What else differs is another URL: the query stays as it is, byte for byte, and %2F is no slash. ok is false for what no
// request can mean.
func Canonical(rawURL string) (_ string, ok bool) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Opaque != "" {
		return "", false
	}
	host, port, ok := parseHost(strings.TrimSuffix(u.Host, ":"))
	if !ok {
		return "", false
	}
	path, query, asked := strings.Cut(u.RequestURI(), "?")
	if path, ok = plainEscapes(path); !ok || !strings.HasPrefix(path, "/") {
		return "", false
	}
	path = withoutDots(path)
	if asked {
		path += "?" + query
	}
	out := target{host, port, path}.url(u.Scheme)
	return out, len(out) <= maxURL
}

// plainEscapes undoes the escapes of unreserved characters and writes the others in upper case. ok is false when one is none.
func plainEscapes(path string) (_ string, ok bool) {
	var out strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] != '%' {
			out.WriteByte(path[i])
			continue
		}
		if i+2 >= len(path) {
			return "", false
		}
		high, low := hexDigit(path[i+1]), hexDigit(path[i+2])
		if high < 0 || low < 0 {
			return "", false
		}
		if c := byte(high<<4 | low); isUnreserved(c) {
			out.WriteByte(c)
		} else {
			out.WriteString(strings.ToUpper(path[i : i+3]))
		}
		i += 2
	}
	return out.String(), true
}

func hexDigit(c byte) int { return strings.IndexByte("0123456789abcdef", lower(c)) }

func isUnreserved(c byte) bool {
	letter := lower(c) >= 'a' && lower(c) <= 'z'
	return letter || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// withoutDots takes the segments "." and ".." out of a path that begins with a slash (RFC 3986, 5.2.4). Nothing is above the root.
func withoutDots(path string) string {
	var kept []string
	segments := strings.Split(path[1:], "/")
	for i, s := range segments {
		last := i == len(segments)-1
		switch s {
		case ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, s)
			continue
		}
		if last { // it names the folder, as with a slash at its end
			kept = append(kept, "")
		}
	}
	return "/" + strings.Join(kept, "/")
}
