package page

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// policy allows what lies here and nothing else; nothing inline.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Handler answers GET and HEAD:
//
//	/              the page
//	/data.json     the Snapshot; with ?sections=1 a live
//	/static/...    what the page needs
func (p *Page) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", p.servePage)
	mux.HandleFunc("/data.json", p.serveData)
	mux.HandleFunc(staticPath, p.serveAsset)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusNotFound, "There is nothing here. The page is at /.")
	})
	return guard(mux)
}

// guard lets through what this machine's own browser asks for on behalf of this page, and sets what every answer has.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Cache-Control", "no-store")
		switch {
		case !local(r.Host):
			refuse(w, http.StatusMisdirectedRequest, "This page is for this machine alone. Ask for it by 127.0.0.1 or localhost.")
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD")
			h.Set("Connection", "close") // there may be a body that nobody reads
			refuse(w, http.StatusMethodNotAllowed, "Only GET and HEAD are answered here.")
		case r.ContentLength != 0:
			h.Set("Connection", "close")
			refuse(w, http.StatusBadRequest, "A request here has no body.")
		case foreign(r.Header):
			refuse(w, http.StatusForbidden, "This is not for pages of others.")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// local reports whether a Host is a name that no stranger can own: a loopback address, or localhost. Any port will do, for
// the page may be reached through a tunnel. A web page of a stranger that makes its own name point here has that name as Host.
func local(host string) bool {
	name := host
	if h, port, err := net.SplitHostPort(host); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return false
		}
		name = h
	} else if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		name = host[1 : len(host)-1]
	}
	if strings.EqualFold(name, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(name)
	return err == nil && a.Zone() == "" && a.Unmap().IsLoopback()
}

// foreign reports whether a browser says that another site asks. A link on one may lead here; it may read nothing.
func foreign(h http.Header) bool {
	switch h.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return false
	default:
		return h.Get("Sec-Fetch-Mode") != "navigate" || h.Get("Sec-Fetch-Dest") != "document"
	}
}

func refuse(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, text+"\n")
}

func (p *Page) servePage(w http.ResponseWriter, _ *http.Request) {
	now := time.Now()
	p.notice(now)
	var b bytes.Buffer
	if err := p.assets.templates.ExecuteTemplate(&b, "page", newView(p.snapshot(now), p.assets)); err != nil {
		p.fail(w, err)
		return
	}
	send(w, "text/html; charset=utf-8", b.Bytes())
}

// live is what the script of the page asks for: the snapshot, and what is made of it.
type live struct {
	Snapshot Snapshot          `json:"snapshot"`
	Clock    string            `json:"clock"`
	Say      string            `json:"say"`
	Sections map[string]string `json:"sections"` // HTML by the id of its place
}

func (p *Page) serveData(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	p.notice(now)
	s := p.snapshot(now)
	var answer any = s
	if r.URL.Query().Get("sections") == "1" {
		l, err := p.live(s)
		if err != nil {
			p.fail(w, err)
			return
		}
		answer = l
	}
	b, err := json.Marshal(answer)
	if err != nil {
		p.fail(w, err)
		return
	}
	send(w, "application/json", b)
}

func (p *Page) live(s Snapshot) (live, error) {
	v := newView(s, p.assets)
	l := live{Snapshot: s, Clock: s.At.Format(time.TimeOnly), Say: v.Say(), Sections: make(map[string]string)}
	put := func(id, name string, data any) error {
		var b strings.Builder
		if err := p.assets.templates.ExecuteTemplate(&b, name, data); err != nil {
			return fmt.Errorf("show %s: %w", id, err)
		}
		l.Sections[id] = b.String()
		return nil
	}
	for _, id := range []string{"now-tiles", "picture", "transfers", "saved-tiles", "peer-rows", "item-rows", "decision-rows", "fact-rows"} {
		if err := put(id, id, v); err != nil {
			return l, err
		}
	}
	for _, c := range v.Charts {
		if err := put("chart-"+c.ID, "chart", c); err != nil {
			return l, err
		}
		if err := put("figures-"+c.ID, "figures", c); err != nil {
			return l, err
		}
	}
	return l, nil
}

func (p *Page) serveAsset(w http.ResponseWriter, r *http.Request) {
	f, ok := p.assets.files[r.URL.Path]
	if !ok {
		refuse(w, http.StatusNotFound, "There is nothing here. The page is at /.")
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	send(w, f.contentType, f.body)
}

func send(w http.ResponseWriter, contentType string, b []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	_, _ = w.Write(b) // an error means that the other end has gone
}

func (p *Page) fail(w http.ResponseWriter, err error) {
	p.log.Warn("the page could not be made", slog.Any("err", err))
	refuse(w, http.StatusInternalServerError, "The page could not be made. The log says why.")
}
