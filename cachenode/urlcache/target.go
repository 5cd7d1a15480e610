package urlcache

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// param is the parameter that names the origin, as Connected Cache has it.
const param = "cacheHostOrigin"

// key names a URL on the disk: its SHA-256.
type key [sha256.Size]byte

func keyOf(rawURL string) key { return sha256.Sum256([]byte(rawURL)) }

func (k key) String() string { return hex.EncodeToString(k[:]) }

// refusal is an answer that says why a request is not served. It never repeats a word of it.
type refusal struct {
	code int
	text string
}

func (r *refusal) Error() string { return r.text }

// Wants reports whether a request names an origin. One that does so in a form that is refused does too.
func Wants(r *http.Request) bool {
	for k := range keys(r.URL.RawQuery) {
		if isParam(k) {
			return true
		}
	}
	return false
}

// keys yields the keys of a query as they stand there, and the items with them.
func keys(query string) func(yield func(key, item string) bool) {
	return func(yield func(key, item string) bool) {
		if query == "" {
			return
		}
		for item := range strings.SplitSeq(query, "&") {
			k, _, _ := strings.Cut(item, "=")
			if !yield(k, item) {
				return
			}
		}
	}
}

// isParam reports whether some reader of a key would take it for the parameter.
func isParam(k string) bool {
	if plain, err := url.QueryUnescape(k); err == nil {
		k = plain
	}
	return strings.EqualFold(k, param)
}

// target is a file at an origin, of which it is open whether it is asked by TLS.
type target struct {
	host string
	port int    // 0: the default one of the scheme
	path string // with the query, without the parameter
}

// parseTarget returns the file that a request means: that of its path and query, byte for byte, at the origin that the
// parameter names. uri is what stands in the request line.
func parseTarget(uri string) (t target, err error) {
	if !strings.HasPrefix(uri, "/") || strings.HasPrefix(uri, "//") {
		return t, &refusal{http.StatusBadRequest, "Ask for a path that begins with one slash: this is no forward proxy."}
	}
	path, query, _ := strings.Cut(uri, "?")
	value, rest, err := takeParam(query)
	if err != nil {
		return t, err
	}
	var ok bool
	if t.host, t.port, ok = parseHost(value); !ok {
		return t, &refusal{http.StatusBadRequest, param + " is not HOST or HOST:PORT. Name the host of the origin, without scheme and path."}
	}
	if rest != "" {
		path += "?" + rest
	}
	t.path = path
	u, err := url.Parse("http://host" + path)
	if err != nil || u.RequestURI() != path || u.Fragment != "" || len(path) > maxURL-maxHost-len("https://:65535") {
		return t, &refusal{http.StatusBadRequest, "The path or the query is not written as an origin would understand it, or too long."}
	}
	return t, nil
}

// url is the URL of the file by a scheme.
func (t target) url(scheme string) string { return base(scheme, t.host, t.port) + t.path }

// base is the URL of an origin without a path; port 0 is the default one.
func base(scheme, host string, port int) string {
	switch {
	case port != 0 && port != defaultPort(scheme):
		return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(port))
	case strings.Contains(host, ":"):
		return scheme + "://[" + host + "]"
	}
	return scheme + "://" + host
}

// Meant returns the URLs that a request may mean for which Wants is true, in the form of Canonical; none when it is refused.
func Meant(r *http.Request) []string {
	t, err := parseTarget(r.RequestURI)
	if err != nil {
		return nil
	}
	var out []string
	for _, scheme := range []string{"http", "https"} {
		if one, ok := Canonical(t.url(scheme)); ok {
			out = append(out, one)
		}
	}
	return out
}

// takeParam takes the parameter out of a query. It must be there once, in plain writing: of two, this node and the origin
// could mean different ones.
func takeParam(query string) (value, rest string, err error) {
	var kept []string
	found := 0
	for k, item := range keys(query) {
		if !isParam(k) {
			kept = append(kept, item)
			continue
		}
		if found++; k != param {
			return "", "", &refusal{http.StatusBadRequest, "Write " + param + " exactly so."}
		}
		_, v, _ := strings.Cut(item, "=")
		if value, err = url.QueryUnescape(v); err != nil {
			return "", "", &refusal{http.StatusBadRequest, param + " is badly escaped."}
		}
	}
	if found != 1 {
		return "", "", &refusal{http.StatusBadRequest, param + " must be there exactly once."}
	}
	return value, strings.Join(kept, "&"), nil
}
