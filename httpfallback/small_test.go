package httpfallback

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// What a publisher names leads to the public Internet, or to where the organisation itself has said that it may.
func TestGetHinted(t *testing.T) {
	t.Parallel()
	l := newLab(t, map[string]string{
		"pub.test": "127.1.0.1", "priv.test": "127.2.0.1", "here.test": "127.0.0.9", "link.test": "127.3.0.1", "localhost": "127.0.0.9",
	})
	ports := make(map[string]string)
	handler := func(w http.ResponseWriter, req *http.Request) {
		if name, ok := strings.CutPrefix(req.URL.Path, "/to/"); ok {
			http.Redirect(w, req, "http://"+name+".test:"+ports[name]+"/", http.StatusFound)
			return
		}
		fmt.Fprint(w, "signature")
	}
	addrs := map[string]string{"pub": "127.1.0.1", "priv": "127.2.0.1", "here": "127.0.0.9", "link": "127.3.0.1"}
	for name, addr := range addrs {
		ports[name] = at(t, addr, handler)
	}
	base := func(name string) string { return "http://" + name + ".test:" + ports[name] }
	literal := func(name string) string { return "http://" + addrs[name] + ":" + ports[name] }
	for _, tt := range []struct {
		url string
		own []string
		ok  bool
	}{
		{base("pub") + "/sig", nil, true},
		{literal("pub") + "/sig", nil, true},
		{base("priv") + "/sig", nil, false},
		{base("here") + "/sig", nil, false},
		{base("link") + "/sig", nil, false},
		{literal("priv") + "/sig", nil, false},
		{literal("here") + "/sig", nil, false},
		{literal("link") + "/sig", nil, false},
		{"http://localhost:" + ports["here"] + "/sig", nil, false},
		{base("pub") + "/to/pub", nil, true},
		{base("pub") + "/to/priv", nil, false},
		{base("pub") + "/to/here", nil, false},
		{base("pub") + "/to/link", nil, false},
		{base("priv") + "/sig", []string{"", "gopher://x/", base("priv") + "/content/"}, true},
		{literal("here") + "/sig", []string{literal("here")}, true},
		{strings.Replace(base("priv"), "priv", "PRIV", 1) + "/sig", []string{base("priv")}, true},
		{base("priv") + "/sig", []string{base("pub"), "http://priv.test:1"}, false}, // another port is another service
		{base("pub") + "/to/priv", []string{base("priv")}, false},                   // a stranger's redirect is a stranger's
		{base("priv") + "/to/here", []string{base("priv")}, false},
	} {
		b, err := l.gate(t).GetHinted(t.Context(), tt.url, tt.own, 100)
		switch {
		case tt.ok && (err != nil || string(b) != "signature"):
			t.Errorf("%s: %q, %v", tt.url, b, err)
		case !tt.ok && (!errors.As(err, new(*ForbiddenError)) || !fault.Is(err, fault.Unavailable)):
			t.Errorf("%s with %q: %v", tt.url, tt.own, err)
		}
	}
	if _, err := l.gate(t).GetHinted(t.Context(), "gopher://x/", nil, 100); !fault.Is(err, fault.Unavailable) {
		t.Errorf("not a URL of the web: %v", err)
	}
}

func TestGetHintedThroughAProxy(t *testing.T) {
	t.Parallel()
	proxy := serve(t, func(_ http.ResponseWriter, req *http.Request) { t.Errorf("the proxy was asked for %v", req.URL) })
	u, err := url.Parse(proxy)
	if err != nil {
		t.Fatal(err)
	}
	g := newGate(t, GateConfig{Proxy: http.ProxyURL(u)})
	for _, raw := range []string{"http://127.0.0.1:1/x", "http://169.254.169.254/latest/", "http://[fd00::1]/"} {
		if _, err := g.GetHinted(t.Context(), raw, nil, 100); !errors.As(err, new(*ForbiddenError)) {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func TestContentURL(t *testing.T) {
	t.Parallel()
	want := "http://x/d/content/" + strings.Repeat("0", 64)
	for _, base := range []string{"http://x/d", "http://x/d/"} {
		if got := ContentURL(base, piecehash.Root{}); got != want {
			t.Errorf("%s: %s", base, got)
		}
	}
}
