package httpfallback

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/internal/fault"
)

func TestClassify(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]reach{
		"9.9.9.9": public, "2620:fe::9": public, "64:ff9b::909:909": public, "100.128.0.1": public,
		"10.0.0.1": private, "172.16.0.1": private, "172.31.255.255": private, "192.168.1.1": private, "fd00::1": private,
		"100.64.0.1": private, "198.18.0.1": private, "192.0.2.1": private, "2002:7f00:1::": private, "2001::1": private,
		"64:ff9b::10.1.2.3": private, "64:ff9b:1::1": private, "2001:db8::1": private, "::ffff:192.168.1.1": private,
		"127.0.0.1": loopback, "127.255.0.1": loopback, "::1": loopback, "::ffff:127.0.0.1": loopback, "64:ff9b::127.0.0.1": loopback,
		"169.254.169.254": forbidden, "fe80::1": forbidden, "fe80::1%eth0": forbidden, "0.0.0.0": forbidden, "::": forbidden,
		"224.0.0.1": forbidden, "ff02::1": forbidden, "255.255.255.255": forbidden, "240.0.0.1": forbidden, "0.1.2.3": forbidden,
		"64:ff9b::a9fe:a9fe": forbidden, "100::1": forbidden,
	} {
		if got := classify(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is taken for %v, want %v", addr, got, want)
		}
	}
}

func TestRuleConfigured(t *testing.T) {
	t.Parallel()
	d := &dialer{host: "Depot1.example.net"}
	tests := []struct {
		host, addr string
		want       bool
	}{
		{"cdn.example.net", "9.9.9.9", true},
		{"cdn.example.net", "10.0.0.1", true},
		{"cdn.example.net", "127.0.0.1", false},
		{"cdn.example.net", "169.254.169.254", false},
		{"localhost", "127.0.0.1", true},
		{"LOCALHOST.", "::1", true},
		{"x.localhost", "127.0.0.1", true},
		{"localhost", "169.254.169.254", false},
		{"notlocalhost", "127.0.0.1", false},
		{"depot1", "127.0.1.1", true},
		{"depot1.example.net", "127.0.1.1", true},
		{"depot10.example.net", "127.0.1.1", false},
		{"127.0.0.1", "127.0.0.1", true},
		{"127.0.0.1", "127.0.0.2", false},
		{"169.254.1.2", "169.254.1.2", true},
		{"fe80::1%eth0", "fe80::1", true},
		{"10.0.0.1", "10.0.0.1", true},
	}
	for _, tt := range tests {
		a := netip.MustParseAddr(tt.addr)
		if got := d.ruleConfigured(tt.host)(a, classify(a)); got != tt.want {
			t.Errorf("%s to %s: allowed %v, want %v", tt.host, tt.addr, got, tt.want)
		}
	}
	if (&dialer{}).ruleConfigured("")(netip.MustParseAddr("127.0.0.1"), loopback) {
		t.Error("without a name of our own, an empty host is not ours")
	}
}

// A redirect, and a publisher's hint, may lead as near as whoever named it, and never to link-local.
func TestRuleLed(t *testing.T) {
	t.Parallel()
	want := map[reach][]bool{
		public:   {true, false, false, false},
		private:  {true, true, false, false},
		loopback: {true, true, true, false},
	}
	for from, allowed := range want {
		for to, ok := range allowed {
			if got := ruleLed(from)(netip.Addr{}, reach(to)); got != ok {
				t.Errorf("from %v to %v: %v", from, reach(to), got)
			}
		}
	}
}

// lab is a world on loopback addresses: DNS says where names are, and some addresses count as public or private.
type lab struct {
	mu    sync.Mutex // guards names
	names map[string]string
	dns   *net.UDPConn
}

func newLab(t *testing.T, names map[string]string) *lab {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{names: names, dns: c}
	t.Cleanup(func() { c.Close() })
	go l.serve()
	return l
}

// serve answers A questions and nothing else.
func (l *lab) serve() {
	b := make([]byte, 512)
	for {
		n, from, err := l.dns.ReadFromUDP(b)
		if err != nil {
			return
		}
		q, labels := b[:n], []string(nil)
		i := 12
		for i < n && q[i] != 0 {
			labels = append(labels, string(q[i+1:i+1+int(q[i])]))
			i += 1 + int(q[i])
		}
		kind := binary.BigEndian.Uint16(q[i+1:])
		l.mu.Lock()
		addr, ok := l.names[strings.ToLower(strings.Join(labels, "."))]
		l.mu.Unlock()
		answer := append([]byte{q[0], q[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, q[12:i+5]...)
		switch {
		case !ok:
			answer[3] = 0x83
		case kind == 1:
			answer[7] = 1
			ip := netip.MustParseAddr(addr).As4()
			answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
			answer = append(answer, ip[:]...)
		}
		l.dns.WriteToUDP(answer, from)
	}
}

func (l *lab) move(name, addr string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names[name] = addr
}

// gate returns a gate that lives in the lab: 127.1.0.0/16 is public, 127.2.0.0/16 private, 127.3.0.0/16 link-local.
func (l *lab) gate(t *testing.T) *Gate {
	g := newGate(t, GateConfig{Resolver: &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "udp", l.dns.LocalAddr().String())
		},
	}})
	g.ways.dialer.classify = func(a netip.Addr) reach {
		switch b := a.As4(); b[1] {
		case 1:
			return public
		case 2:
			return private
		case 3:
			return forbidden
		}
		return loopback
	}
	return g
}

// at starts a server on the address and returns its port.
func at(t *testing.T, addr string, h http.HandlerFunc) (port string) {
	l, err := net.Listen("tcp", addr+":0")
	if err != nil {
		t.Skipf("no address %s here: %v", addr, err) // only Linux answers on all of 127/8
	}
	s := httptest.NewUnstartedServer(h)
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port
}

func TestWhereRequestsMayGo(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(41, 2*piece, piece)
	var served atomic.Int64
	file := func(w http.ResponseWriter, req *http.Request) {
		served.Add(1)
		http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(data))
	}
	l := newLab(t, map[string]string{
		"pub.test": "127.1.0.1", "priv.test": "127.2.0.1", "here.test": "127.0.0.9", "link.test": "127.3.0.1", "localhost.test": "127.0.0.9",
	})
	ports := make(map[string]string)
	to := func(name string) string { return "http://" + name + ".test:" + ports[name] }
	handler := func(w http.ResponseWriter, req *http.Request) {
		if name, ok := strings.CutPrefix(req.URL.Path, "/to/"); ok {
			name, rest, _ := strings.Cut(name, "/")
			target := to(name) + "/" + rest
			if ip, ok := strings.CutPrefix(name, "ip-"); ok {
				target = "http://" + ip + ":" + ports[rest] + "/file"
			}
			http.Redirect(w, req, target, http.StatusFound)
			return
		}
		file(w, req)
	}
	for name, addr := range map[string]string{"pub": "127.1.0.1", "priv": "127.2.0.1", "here": "127.0.0.9", "link": "127.3.0.1"} {
		ports[name] = at(t, addr, handler)
	}
	ports["localhost"] = ports["here"]

	tests := []struct {
		url, hint string
		ok        bool
	}{
		{to("pub") + "/file", "", true},
		{to("priv") + "/file", "", true},
		{to("here") + "/file", "", false}, // a name that somebody's DNS makes point at us
		{to("link") + "/file", "", false},
		{"http://127.0.0.9:" + ports["here"] + "/file", "", true},
		{"http://127.3.0.1:" + ports["link"] + "/file", "", true},
		{to("pub") + "/to/pub/file", "", true},
		{to("pub") + "/to/priv/file", "", false},
		{to("pub") + "/to/here/file", "", false},
		{to("pub") + "/to/link/file", "", false},
		{to("pub") + "/to/ip-127.0.0.9/here", "", false},
		{to("pub") + "/to/ip-127.2.0.1/priv", "", false},
		{to("pub") + "/to/ip-127.1.0.1/pub", "", true},
		{to("priv") + "/to/priv/file", "", true},
		{to("priv") + "/to/pub/file", "", true},
		{to("priv") + "/to/here/file", "", false},
		{to("priv") + "/to/pub/to/priv/file", "", false}, // back in through a stranger
		{"http://127.0.0.9:" + ports["here"] + "/to/here/file", "", true},
		{"http://127.0.0.9:" + ports["here"] + "/to/link/file", "", false},
		{to("pub") + "/to/pub/to/pub/to/pub/file", "", true},
		{to("pub") + "/to/pub/to/pub/to/pub/to/pub/file", "", false}, // four redirects
		{"", to("pub") + "/file", true},
		{"", to("priv") + "/file", false},
		{"", to("here") + "/file", false},
		{"", "http://127.0.0.9:" + ports["here"] + "/file", false},
		{"", to("pub") + "/to/priv/file", false},
	}
	for _, tt := range tests {
		t.Run(tt.url+tt.hint, func(t *testing.T) {
			cfg := OriginConfig{Gate: l.gate(t), Content: m.Content, Patience: 50 * time.Millisecond}
			if tt.url != "" {
				cfg.URLs = []string{tt.url}
			} else {
				cfg.Hints = []string{tt.hint}
			}
			o, err := NewOrigin(cfg)
			if err != nil {
				t.Fatal(err)
			}
			before := served.Load()
			err = o.Fetch(t.Context(), 0, 2, fetch.Own, &fetchtest.Sink{M: m})
			if tt.ok && err != nil || !tt.ok && !fault.Is(err, fault.Unavailable) {
				t.Fatalf("error %v, want it to work: %v", err, tt.ok)
			}
			if !tt.ok && served.Load() != before {
				t.Error("the request was sent all the same")
			}
			// And again: a connection or a URL that was remembered opens no way around.
			if again := o.Fetch(t.Context(), 0, 2, fetch.Own, &fetchtest.Sink{M: m}); (again == nil) != tt.ok {
				t.Errorf("the second time: %v", again)
			}
		})
	}
}

// An idle connection to a private server, made because the URL was configured, must not serve a stranger's redirect.
func TestRedirectDoesNotUseAnIdleConnection(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(42, piece, piece)
	var private atomic.Int64
	port := at(t, "127.2.0.1", func(w http.ResponseWriter, req *http.Request) {
		private.Add(1)
		http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(data))
	})
	inside := "http://127.2.0.1:" + port + "/"
	stranger := "http://127.1.0.1:" + at(t, "127.1.0.1", func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, inside, http.StatusFound)
	})
	g := newLab(t, nil).gate(t)
	if err := newOrigin(t, g, m, inside).Fetch(t.Context(), 0, 1, fetch.Own, &fetchtest.Sink{M: m}); err != nil {
		t.Fatal(err)
	}
	var forbidden *ForbiddenError
	err := newOrigin(t, g, m, stranger).Fetch(t.Context(), 0, 1, fetch.Own, &fetchtest.Sink{M: m})
	if !errors.As(err, &forbidden) || private.Load() != 1 {
		t.Errorf("error %v after %d requests inside", err, private.Load())
	}
}

// A name that moves between two requests is judged anew.
func TestRebinding(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(43, 2*piece, piece)
	var inside atomic.Int64
	h := func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Connection", "close")
		http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(data))
	}
	port := at(t, "127.1.0.1", h)
	in, err := net.Listen("tcp", "127.0.0.9:"+port)
	if err != nil {
		t.Skip(err)
	}
	defer in.Close()
	go func() {
		for {
			c, err := in.Accept()
			if err != nil {
				return
			}
			inside.Add(1)
			c.Close()
		}
	}()
	l := newLab(t, map[string]string{"pub.test": "127.1.0.1"})
	o, err := NewOrigin(OriginConfig{Gate: l.gate(t), Content: m.Content, URLs: []string{"http://pub.test:" + port}, Patience: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Fetch(t.Context(), 0, 1, fetch.Own, &fetchtest.Sink{M: m}); err != nil {
		t.Fatal(err)
	}
	l.move("pub.test", "127.0.0.9")
	if err := o.Fetch(t.Context(), 1, 1, fetch.Own, &fetchtest.Sink{M: m}); err == nil || inside.Load() != 0 {
		t.Errorf("error %v after %d connections to this machine", err, inside.Load())
	}
}

// The end of a redirect is remembered, and given up when it fails: a signed URL runs out.
func TestRedirectIsRemembered(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(44, 6*piece, piece)
	var redirects, ticket atomic.Int64
	url := serve(t, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/" {
			redirects.Add(1)
			http.Redirect(w, req, fmt.Sprintf("/signed?ticket=%d", ticket.Load()), http.StatusFound)
			return
		}
		if req.URL.Query().Get("ticket") != fmt.Sprint(ticket.Load()) {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(data))
	})
	g := newGate(t, GateConfig{})
	o := newOrigin(t, g, m, url+"/")
	for i := range 6 {
		if i == 3 {
			ticket.Add(1)
		}
		if err := o.Fetch(t.Context(), i, 1, fetch.Own, &fetchtest.Sink{M: m}); err != nil {
			t.Fatal(err)
		}
	}
	if n := redirects.Load(); n != 2 {
		t.Errorf("%d redirects, want one and one more when the ticket ran out", n)
	}
	if useful, waste := settled(t, g); useful != m.Length() || waste == 0 {
		t.Errorf("useful %d, waste %d: bodies of redirects are waste", useful, waste)
	}
}

func TestProxy(t *testing.T) {
	t.Parallel()
	data, m := fetchtest.Content(45, piece, piece)
	var seen atomic.Value
	proxy := serve(t, func(w http.ResponseWriter, req *http.Request) {
		seen.Store(req.URL.String())
		switch req.URL.Host {
		case "cdn.invalid":
			http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(data))
		case "name.invalid":
			http.Redirect(w, req, "http://cdn.invalid/f", http.StatusFound)
		default:
			http.Redirect(w, req, "http://127.0.0.1:1/f", http.StatusFound)
		}
	})
	u, _ := url.Parse(proxy)
	g := newGate(t, GateConfig{Proxy: http.ProxyURL(u)})
	if err := newOrigin(t, g, m, "http://cdn.invalid/f").Fetch(t.Context(), 0, 1, fetch.Own, &fetchtest.Sink{M: m}); err != nil {
		t.Errorf("through a proxy on this machine: %v", err)
	}
	if err := newOrigin(t, g, m, "http://name.invalid/f").Fetch(t.Context(), 0, 1, fetch.Own, &fetchtest.Sink{M: m}); err != nil {
		t.Errorf("redirect through a proxy: %v", err)
	}
	err := newOrigin(t, g, m, "http://evil.invalid/f").Fetch(t.Context(), 0, 1, fetch.Own, &fetchtest.Sink{M: m})
	if !errors.As(err, new(*ForbiddenError)) {
		t.Errorf("redirect to this machine through a proxy: %v", err)
	}
	if got := seen.Load(); got != "http://evil.invalid/f" {
		t.Errorf("the proxy was asked for %v", got)
	}
}

func TestOwnName(t *testing.T) {
	t.Parallel()
	name, err := os.Hostname()
	if err != nil {
		t.Skip(err)
	}
	if d := newGate(t, GateConfig{}).ways.dialer; !d.ruleConfigured(name)(netip.MustParseAddr("127.0.1.1"), loopback) {
		t.Error("this machine's own name may lead to itself")
	}
}
