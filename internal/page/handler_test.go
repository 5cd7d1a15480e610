package page

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/dunlin-project/dunlin/fetch"
)

func TestHost(t *testing.T) {
	t.Parallel()
	p := newPage(t, &subject{})
	for host, want := range map[string]int{
		"127.0.0.1:7682": 200, "127.0.0.1": 200, "localhost:7682": 200, "LocalHost": 200, "[::1]:7682": 200, "[::1]": 200,
		"localhost:9000": 200, "127.66.1.12:7682": 200, "[::ffff:127.0.0.1]:80": 200,
		"": 421, "evil.example": 421, "evil.example:7682": 421, "localhost.evil.example": 421, "127.0.0.1.evil.example:7682": 421,
		"localhost.": 421, "10.0.0.7:7682": 421, "0.0.0.0:7682": 421, "[::]:7682": 421, "[::1%25lo]:7682": 421, "[fe80::1]": 421,
		"localhost:x": 421, "localhost:99999": 421, "2130706433": 421, "127.1": 421, "127.0.0.1:7682:1": 421, "[127.0.0.1": 421,
		"user@127.0.0.1": 421,
	} {
		for _, path := range []string{"/", "/data.json", p.assets.path("live.js"), "/nothing"} {
			got := ask(p, "GET", path, func(r *http.Request) { r.Host = host })
			if path == "/nothing" && want == 200 {
				continue
			}
			if got.Code != want {
				t.Errorf("Host %q, %s: %d, want %d", host, path, got.Code, want)
			}
			if strings.Contains(host, "evil") && strings.Contains(got.Body.String(), "evil") {
				t.Errorf("Host %q comes back in the answer", host)
			}
		}
	}
}

func TestMethodsPathsAndBodies(t *testing.T) {
	t.Parallel()
	p := newPage(t, &subject{})
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/", 200},
		{"HEAD", "/", 200},
		{"GET", "/data.json", 200},
		{"HEAD", "/data.json", 200},
		{"POST", "/", 405},
		{"PUT", "/data.json", 405},
		{"DELETE", "/", 405},
		{"OPTIONS", "/", 405},
		{"TRACE", "/", 405},
		{"GET", "/x", 404},
		{"GET", "/index.html", 404},
		{"GET", "/static/", 404},
		{"GET", "/static/style.css", 404},
		{"GET", "/static/../templates/page.html", 307},
		{"GET", "/metrics", 404},
		{"GET", "/%2e%2e/etc/passwd", 404},
	} {
		got := ask(p, c.method, c.path, nil)
		if got.Code != c.want {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, got.Code, c.want)
		}
	}
	withBody := ask(p, "GET", "/", func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("x")), 1 })
	if withBody.Code != 400 {
		t.Errorf("a body: %d", withBody.Code)
	}
}

// TestPagesOfOthers: a browser says who asks, and only a link may lead here.
func TestPagesOfOthers(t *testing.T) {
	t.Parallel()
	p := newPage(t, &subject{})
	for _, c := range []struct {
		site, mode, dest string
		want             int
	}{
		{"", "", "", 200},
		{"none", "navigate", "document", 200},
		{"same-origin", "cors", "empty", 200},
		{"cross-site", "navigate", "document", 200},
		{"same-site", "cors", "empty", 403},
		{"cross-site", "no-cors", "script", 403},
		{"cross-site", "cors", "empty", 403},
		{"cross-site", "navigate", "iframe", 403},
		{"cross-site", "no-cors", "image", 403},
		{"nonsense", "", "", 403},
	} {
		got := ask(p, "GET", "/data.json", func(r *http.Request) {
			r.Header.Set("Sec-Fetch-Site", c.site)
			r.Header.Set("Sec-Fetch-Mode", c.mode)
			r.Header.Set("Sec-Fetch-Dest", c.dest)
			r.Header.Set("Origin", "http://evil.example")
		})
		if got.Code != c.want {
			t.Errorf("%+v: %d", c, got.Code)
		}
		for name := range got.Header() {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%+v: the answer has %s", c, name)
			}
		}
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	p := newPage(t, &subject{})
	asset := p.assets.path("style.css")
	for path, contentType := range map[string]string{
		"/": "text/html; charset=utf-8", "/data.json": "application/json", "/nothing": "text/plain; charset=utf-8",
		asset: "text/css; charset=utf-8", p.assets.path("live.js"): "text/javascript; charset=utf-8", p.assets.path("mark.svg"): "image/svg+xml",
	} {
		h := ask(p, "GET", path, nil).Header()
		for name, want := range map[string]string{
			"Content-Type": contentType, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
			"Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin", "Content-Security-Policy": policy,
		} {
			if h.Get(name) != want {
				t.Errorf("%s: %s is %q, want %q", path, name, h.Get(name), want)
			}
		}
		cache := "no-store"
		if strings.HasPrefix(path, staticPath) {
			cache = "public, max-age=31536000, immutable"
		}
		if h.Get("Cache-Control") != cache {
			t.Errorf("%s: Cache-Control is %q", path, h.Get("Cache-Control"))
		}
	}
	for _, word := range []string{"unsafe-inline", "unsafe-eval", "http:", "https:", "data:", "*"} {
		if strings.Contains(policy, word) {
			t.Errorf("the policy has %s", word)
		}
	}
}

const hostile = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&lt;{{.}}\u202e\x00javascript:alert(3)\n"

// hostileLook has a hostile text in every place that holds one.
func hostileLook(kind Kind) *subject {
	v := &fetch.View{
		Sources: []fetch.Source{{ID: hostile, Role: hostile, Bytes: 1, Standing: hostile, Left: 1.5}},
		Origin:  fetch.OriginView{Standing: hostile, Site: 3}, Others: 4,
	}
	return &subject{
		look: Look{
			Kind: kind, Name: hostile, Version: hostile, Dropped: 2,
			Facts:     []Fact{{hostile, hostile, true}},
			Transfers: []Transfer{{Name: hostile, Length: 10, Have: 5, Sources: v}},
			Items: []Item{
				{Name: hostile, Title: hostile, Version: hostile, State: hostile, Bad: true, Detail: hostile, Length: 1, Since: time.Now()},
				{Name: hostile, State: hostile},
			},
			Decisions: []Decision{{At: time.Now(), What: hostile, Outcome: hostile, Why: hostile, Bad: true}},
		},
		peers: []Peer{{ID: hostile, Addr: hostile, Since: time.Now()}, {ID: "node", Role: fetch.Cache, Addr: hostile}},
	}
}

// inline returns what the policy would have to forbid, as a browser reads the text: a script or style within, a handler, a URL
// that leads elsewhere or runs.
func inline(t *testing.T, text string) (bad []string) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if n.Data == "style" || n.Data == "img" || n.Data == "iframe" || n.Data == "script" && n.FirstChild != nil {
			bad = append(bad, n.Data)
		}
		for _, a := range n.Attr {
			isURL := a.Key == "href" || a.Key == "src"
			if a.Key == "style" || strings.HasPrefix(a.Key, "on") || isURL && !strings.HasPrefix(a.Val, "/") && !strings.HasPrefix(a.Val, "#") {
				bad = append(bad, a.Key+"="+a.Val)
			}
		}
	}
	return bad
}

func TestHostileNamesAreText(t *testing.T) {
	t.Parallel()
	for _, kind := range []Kind{Device, Node} {
		s := hostileLook(kind)
		p := newPage(t, s)
		p.sample(time.Now())
		s.moved.Add(5 << 20)
		p.sample(time.Now().Add(time.Second))
		page := ask(p, "GET", "/", nil)
		var l live
		if err := json.Unmarshal(ask(p, "GET", "/data.json?sections=1", nil).Body.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		texts := map[string]string{"page": page.Body.String()}
		for id, html := range l.Sections {
			texts[id] = html
		}
		for where, text := range texts {
			if bad := inline(t, text); bad != nil {
				t.Errorf("%s, %s: %q got through", kind, where, bad)
			}
			if strings.ContainsAny(text, "\u202e\x00") {
				t.Errorf("%s, %s: a mark that turns text got through", kind, where)
			}
			if strings.Contains(text, "ZgotmplZ") {
				t.Errorf("%s, %s: a text stands where none may", kind, where)
			}
		}
		if !strings.Contains(page.Body.String(), "&lt;script&gt;alert(1)") {
			t.Errorf("%s: the names are not shown at all", kind)
		}
	}
}

// TestSectionsArePlaces: each section has its place in the page, and holds at first what is there already.
func TestSectionsArePlaces(t *testing.T) {
	t.Parallel()
	for _, s := range []*subject{{look: Look{Kind: Device}}, hostileLook(Node)} {
		p := newPage(t, s)
		page := ask(p, "GET", "/", nil).Body.String()
		var l live
		if err := json.Unmarshal(ask(p, "GET", "/data.json?sections=1", nil).Body.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		if len(l.Sections) != 12 {
			t.Errorf("%d sections", len(l.Sections))
		}
		for id, html := range l.Sections {
			if n := strings.Count(page, `id="`+id+`"`); n != 1 {
				t.Errorf("%d places for %s", n, id)
			}
			// What can have the focus would lose it when its section is renewed.
			if regexp.MustCompile(`<(a|button|input|summary|select|textarea)\b|tabindex`).MatchString(html) {
				t.Errorf("%s holds something that can have the focus", id)
			}
		}
		for _, m := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(page, -1) {
			if strings.Count(page, ` id="`+m[1]+`"`) != 1 {
				t.Errorf("the id %s is there twice", m[1])
			}
		}
	}
}
