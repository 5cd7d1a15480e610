package urlcache

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestParseOrigin(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Origin{
		"cdn.example.com":         {"http", "cdn.example.com", false, 80},
		"CDN.Example.com:8080":    {"http", "cdn.example.com", false, 8080},
		"https://cdn.example.com": {"https", "cdn.example.com", false, 443},
		"*.example.com":           {"http", ".example.com", true, 80},
		"https://*.a.b:444":       {"https", ".a.b", true, 444},
		"10.0.0.5:81":             {"http", "10.0.0.5", false, 81},
		"[fd00::1]":               {"http", "fd00::1", false, 80},
		"localhost":               {"http", "localhost", false, 80},
	} {
		if got, err := ParseOrigin(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "*", "*.com", "*.10.0.0.5", "a.*.com", "ftp://a.com", "http://a.com/", "a.com/x", "u@a.com", "a.com:", "a.com:0", "a.com:65536",
		"a.com:080", "127.1", "0x7f.0.0.1", "2130706433", "[::ffff:127.0.0.1]", "[fe80::1%eth0]", "[::1", "a..com", ".com", "-a.com", "a b", "ä.com",
	} {
		if o, err := ParseOrigin(text); err == nil {
			t.Errorf("%q was taken as %+v", text, o)
		}
	}
}

// TestWhichOriginsAreAllowed: the first entry that fits decides by which scheme the origin is asked.
func TestWhichOriginsAreAllowed(t *testing.T) {
	t.Parallel()
	l := list(origins(t, "cdn.example.com", "https://tls.example.com", "*.win.example.com:8080", "10.0.0.5"))
	for value, want := range map[string]string{
		"cdn.example.com":          "http://cdn.example.com",
		"CDN.example.com:80":       "http://cdn.example.com",
		"tls.example.com":          "https://tls.example.com",
		"tls.example.com:443":      "https://tls.example.com",
		"a.b.win.example.com:8080": "http://a.b.win.example.com:8080",
		"10.0.0.5":                 "http://10.0.0.5",
		"cdn.example.com:443":      "", "tls.example.com:80": "", "a.win.example.com": "", "win.example.com:8080": "",
		"xwin.example.com:8080": "", "cdn.example.com.evil.org": "", "10.0.0.50": "", "10.0.0.5:81": "", "evil.org": "",
	} {
		host, port, ok := parseHost(value)
		o, found := l.find(host, port)
		if !ok || found != (want != "") || found && base(o.scheme, host, o.port) != want {
			t.Errorf("%s: %v %+v, want %q", value, found, o, want)
		}
	}
	for raw, want := range map[string]bool{
		"http://cdn.example.com/x": true, "https://cdn.example.com/x": false, "http://tls.example.com/": false, "https://tls.example.com:443/": true,
		"http://10.0.0.5/": true, "http://127.0.0.1/": false, "http://[::1]/": false, "http://169.254.169.254/": false,
	} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.allow(u) == nil; got != want {
			t.Errorf("redirect to %s: allowed %v", raw, got)
		}
	}
}

func TestParseTarget(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string]string{
		"/a/b?cacheHostOrigin=h.com":                 "http://h.com/a/b",
		"/a%2Fb?x=1&cacheHostOrigin=h.com&y=%20+&&z": "http://h.com/a%2Fb?x=1&y=%20+&&z",
		"/?cacheHostOrigin=h.com%3A81":               "http://h.com:81/",
		"/a?cacheHostOrigin=[fd00::1]:82&q":          "http://[fd00::1]:82/a?q",
		"/a?cacheHostOrigin=H.com:80":                "http://h.com/a",
		"/%7Efoo/../x;y?cacheHostOrigin=h.com":       "http://h.com/%7Efoo/../x;y",
		"/a?cacheHostOrigin=h.com:80&s=a=b?c/d":      "http://h.com/a?s=a=b?c/d",
	} {
		got, err := parseTarget(uri)
		if err != nil || got.url("http") != want {
			t.Errorf("%s: %q, %v; want %q", uri, got.url("http"), err, want)
		}
	}
	for _, uri := range []string{
		"/a", "/a?cacheHostOrigin=a.com&cacheHostOrigin=a.com", "/a?cacheHostOrigin=a.com&CACHEHOSTORIGIN=b.com",
		"/a?cacheHostOrigin=a.com&cacheHostOrigi%6E=b.com", "/a?cachehostorigin=a.com", "/a?cacheHostOrigin", "/a?cacheHostOrigin=",
		"/a?cacheHostOrigin=http://a.com", "/a?cacheHostOrigin=a.com/x", "/a?cacheHostOrigin=u@a.com", "/a?cacheHostOrigin=a.com%00",
		"/a?cacheHostOrigin=a.com%0d%0aX:y", "/a?cacheHostOrigin=a.com%", "/a?cacheHostOrigin=a.com#x", "//h/a?cacheHostOrigin=a.com",
		"http://x/a?cacheHostOrigin=a.com", "*?cacheHostOrigin=a.com", "/%zz?cacheHostOrigin=a.com", "/a?cacheHostOrigin=127.1",
		"/a?cacheHostOrigin=a.com:99999", "/" + strings.Repeat("a", maxURL) + "?cacheHostOrigin=a.com",
	} {
		if got, err := parseTarget(uri); err == nil {
			t.Errorf("%.80s was taken as %s", uri, got.url("http"))
		}
	}
}

// TestRequestsThatAreRefused never reach an origin.
func TestRequestsThatAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, data(20, testSlice))
	w.run(w.host, "[::1]:9")
	good := "/f?cacheHostOrigin=" + w.host
	_, port, _ := strings.Cut(w.host, ":")
	for name, c := range map[string]struct {
		method, uri string
		header      []string
		want        int
	}{
		"another origin":   {"GET", "/f?cacheHostOrigin=evil.org", nil, 403},
		"another port":     {"GET", "/f?cacheHostOrigin=127.0.0.1", nil, 403},
		"loopback by name": {"GET", "/f?cacheHostOrigin=localhost:" + port, nil, 403},
		"all addresses":    {"GET", "/f?cacheHostOrigin=0.0.0.0:" + port, nil, 403},
		"its neighbour":    {"GET", "/f?cacheHostOrigin=127.0.0.2:" + port, nil, 403},
		"metadata service": {"GET", "/f?cacheHostOrigin=169.254.169.254", nil, 403},
		"decimal address":  {"GET", "/f?cacheHostOrigin=2130706433:" + port, nil, 400},
		"mapped address":   {"GET", "/f?cacheHostOrigin=[::ffff:127.0.0.1]:" + port, nil, 400},
		"twice":            {"GET", good + "&cacheHostOrigin=" + w.host, nil, 400},
		"in other writing": {"GET", good + "&CacheHostOrigin=evil.org", nil, 400},
		"post":             {"POST", good, nil, 405},
		"connect":          {"OPTIONS", good, nil, 405},
		"credentials":      {"GET", good, []string{"Authorization", "Basic eDp5"}, 403},
		"cookie":           {"GET", good, []string{"Cookie", "a=b"}, 403},
		"loop":             {"GET", good, []string{"Via", "1.1 other, 1.1 " + w.cache.name}, 508},
		"many caches":      {"GET", good, []string{"Via", strings.Repeat("1.1 x,", maxHops) + "1.1 x"}, 508},
	} {
		resp, err := w.raw(c.method, c.uri, c.header...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if resp.Body.Close(); resp.StatusCode != c.want || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: status %d, want %d", name, resp.StatusCode, c.want)
		}
	}
	if got := w.origin.asks(); len(got) > 0 {
		t.Errorf("the origin was asked: %v", got)
	}
	w.cache.mu.Lock()
	defer w.cache.mu.Unlock()
	if len(w.cache.entries) > 0 {
		t.Errorf("%d entries were made", len(w.cache.entries))
	}
}

// TestNamesNeverLeadInside: a name on the list that leads to loopback is refused when DNS has spoken, and so is a redirect
// there; a redirect to an address on the list, or to another allowed origin, is followed.
func TestNamesNeverLeadInside(t *testing.T) {
	t.Parallel()
	b := data(21, testSlice+1)
	other := newOrigin(b)
	srv := httptest.NewServer(other)
	defer srv.Close()
	otherHost := srv.Listener.Addr().String()
	_, port, _ := strings.Cut(otherHost, ":")
	w := newWorld(t, b)
	w.origin.set(func(rw http.ResponseWriter, r *http.Request, _ int) {
		to := map[string]string{
			"/name": "http://localhost:" + port + "/x", "/stranger": "http://127.0.0.3:" + port + "/x", "/listed": "http://" + otherHost + "/x",
			"/tls": "https://" + otherHost + "/x", "/file": "file:///etc/passwd", "/user": "http://u:p@" + otherHost + "/x",
			"/v6": "http://[::ffff:127.0.0.1]:" + port + "/x", "/loop": "/loop",
		}[r.URL.Path]
		http.Redirect(rw, r, to, http.StatusFound)
	})
	w.run(w.host, otherHost, "localhost:"+port)
	resp, err := w.raw("GET", "/x?cacheHostOrigin=localhost:"+port)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != 403 {
		t.Errorf("a name that leads to loopback: status %d", resp.StatusCode)
	}
	for path, want := range map[string]int{"/name": 403, "/stranger": 403, "/tls": 403, "/file": 502, "/user": 502, "/v6": 403, "/loop": 502} {
		resp := w.ask("GET", path)
		if resp.Body.Close(); resp.StatusCode != want {
			t.Errorf("redirect %s: status %d, want %d", path, resp.StatusCode, want)
		}
	}
	if got := other.asks(); len(got) > 0 {
		t.Errorf("the other server was asked: %v", got)
	}
	wants(t, "redirect to one on the list", w.ask("GET", "/listed"), 200, b)
}
