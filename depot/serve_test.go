package depot

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/repository/ca"
)

// freeAddr is an address that nobody listens on at the moment.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// newServedDepot is a depot whose URLs can be reached once it is served.
func newServedDepot(t *testing.T, vendors ...*vendor) *Depot {
	t.Helper()
	c := testConfig(t, vendors...)
	c.Listen, c.ContentListen = freeAddr(t), freeAddr(t)
	if _, err := Init(t.Context(), c, time.Now()); err != nil {
		t.Fatal(err)
	}
	d, err := Open(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// serve runs a server until the returned function is called, or the test ends.
func serve(t *testing.T, d *Depot, c ServeConfig) (Ready, func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan Ready, 1), make(chan error, 1)
	c.Ready = func(r Ready) { ready <- r }
	go func() { ended <- NewServer(d, c).Run(ctx) }()
	stop := func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
		ended <- nil
	}
	select {
	case r := <-ready:
		t.Cleanup(stop)
		return r, stop
	case err := <-ended:
		cancel()
		t.Fatalf("serve: %v", err)
		return Ready{}, nil
	}
}

// device follows a token and syncs, as the agent does.
func device(t *testing.T, text string) (*metadata.Client, *metadata.View) {
	t.Helper()
	token, err := metadata.ParseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	joined, err := metadata.Bootstrap(t.Context(), token, time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := metadata.NewClient(metadata.ClientConfig{
		Dir: filepath.Join(t.TempDir(), "device"), Anchor: joined.Anchor, Depots: token.Depots, CA: joined.CA, Pins: []metadata.Pin{token.CA}, Ring: token.Ring,
	})
	if err != nil {
		t.Fatal(err)
	}
	view, _, err := c.Sync(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return c, view
}

func TestADeviceJoinsAndGetsWhatIsApproved(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	payload := randomBytes(300_000)
	v.release(t, "app", "1.0", 1, payload, nil)
	d := newServedDepot(t, v)
	if _, err := approve(t.Context(), d, "acme/app@1.0", "pilot"); err != nil {
		t.Fatal(err)
	}
	ready, stop := serve(t, d, ServeConfig{})
	if len(ready.Tokens) != 2 || ready.Tokens[0].Ring != "pilot" {
		t.Fatalf("%+v", ready)
	}
	c, view := device(t, ready.Tokens[0].Token)
	offers := view.Offers("pilot")
	if len(offers) != 1 {
		t.Fatalf("%d offers, refused %v", len(offers), view.Refusals("pilot"))
	}
	m, err := c.Layer(t.Context(), offers[0].Content())
	if err != nil {
		t.Fatal(err)
	}
	origin := view.Fleet().Origins[0]
	body := download(t, metadata.ContentURL(origin, m.Root()))
	if !bytes.Equal(body, payload) || origin != ready.ContentURL {
		t.Errorf("%d bytes from %s", len(body), origin)
	}
	if _, broad := device(t, ready.Tokens[1].Token); len(broad.Offers("broad")) != 0 {
		t.Error("ring broad has an offer")
	}
	stop()
	if _, _, err := c.Sync(t.Context(), time.Now()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("after the end: %v", err)
	}
	ready, _ = serve(t, d, ServeConfig{})
	if _, _, err := c.Sync(t.Context(), time.Now()); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if _, err := os.Stat(ready.Socket); err != nil {
		t.Error(err)
	}
}

func download(t *testing.T, url string) []byte {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v %v", url, resp.Status, err)
	}
	return b
}

func TestJoiningAnotherDepotIsUntrusted(t *testing.T) {
	t.Parallel()
	d := newServedDepot(t)
	ready, stop := serve(t, d, ServeConfig{})
	token, err := metadata.ParseToken(ready.Tokens[0].Token)
	if err != nil {
		t.Fatal(err)
	}
	wrongCA, wrongRoot := *token, *token
	wrongCA.CA[0] ^= 1
	wrongRoot.Root[0] ^= 1
	for name, token := range map[string]*metadata.Token{"authority": &wrongCA, "root": &wrongRoot} {
		if _, err := metadata.Bootstrap(t.Context(), token, time.Now(), nil); !fault.Is(err, fault.Untrusted) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	stop()
	if _, err := metadata.Bootstrap(t.Context(), token, time.Now(), nil); !fault.Is(err, fault.Unavailable) {
		t.Errorf("nobody there: %v", err)
	}
}

func TestTheSecureListenerSpeaksTLS13Only(t *testing.T) {
	t.Parallel()
	d := newServedDepot(t)
	ready, _ := serve(t, d, ServeConfig{})
	roots := x509.NewCertPool()
	authority, err := d.authority()
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(authority.Cert())
	conn, err := tls.Dial("tcp", ready.Listen, &tls.Config{RootCAs: roots, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	state := conn.ConnectionState()
	conn.Close()
	if state.Version != tls.VersionTLS13 || state.NegotiatedProtocol == "h2" {
		t.Errorf("version %x, protocol %q", state.Version, state.NegotiatedProtocol)
	}
	if _, err := tls.Dial("tcp", ready.Listen, &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS12}); err == nil {
		t.Error("TLS 1.2 was taken")
	}
	resp, err := http.Get("http://" + ready.Listen + "/v1/approvals/metadata/timestamp.json")
	if err == nil {
		if resp.Body.Close(); resp.StatusCode < 400 {
			t.Error("metadata without TLS")
		}
	}
}

func TestTwoServersDoNotShareAFolder(t *testing.T) {
	t.Parallel()
	d := newServedDepot(t)
	serve(t, d, ServeConfig{})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := NewServer(d, ServeConfig{Listen: "127.0.0.1:0", ContentListen: "127.0.0.1:0"}).Run(ctx)
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(fault.Hint(err), "depot serve") {
		t.Errorf("%v (%s)", err, fault.Hint(err))
	}
}

func TestATakenPortIsUnavailable(t *testing.T) {
	t.Parallel()
	d := newServedDepot(t)
	l, err := net.Listen("tcp", d.set.ContentListen)
	if err != nil {
		t.Skip("somebody else took the port")
	}
	defer l.Close()
	if err := NewServer(d, ServeConfig{}).Run(t.Context()); !fault.Is(err, fault.Unavailable) || fault.Hint(err) == "" {
		t.Errorf("%v", err)
	}
}

func TestCommandsGoOverTheSocketWhileAServerRuns(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	v.release(t, "app", "1.0", 1, randomBytes(100_000), nil)
	d := newServedDepot(t, v)
	c := Config{Dir: string(d.at)}
	var steps []string
	ask := func(r *Request) (*Response, error) {
		return Ask(t.Context(), c, r, func(p Progress) { steps = append(steps, p.Step) })
	}
	for _, running := range []bool{false, true} {
		if running {
			serve(t, d, ServeConfig{SyncEvery: -1})
			hideFolder(t, d) // nothing but the server can do it now
		}
		steps = nil
		r, err := ask(&Request{Approve: &ApproveRequest{Update: "acme/app@1.0", Rings: []string{"pilot"}}})
		if err != nil || len(r.Approve.Approved) != 1 {
			t.Fatalf("running %v: %+v %v", running, r, err)
		}
		if !slices.Contains(steps, "sync acme") {
			t.Errorf("running %v: steps %v", running, steps)
		}
		if r, err := ask(&Request{List: &ListRequest{}}); err != nil || len(r.List.Approved) != 1 {
			t.Errorf("running %v: %+v %v", running, r, err)
		}
		if r, err := ask(&Request{Publishers: &PublishersRequest{}}); err != nil || len(r.Publishers) != 1 || r.Publishers[0].Fingerprint != v.trust.Fingerprint() {
			t.Errorf("running %v: %+v %v", running, r, err)
		}
		if r, err := ask(&Request{Token: &TokenRequest{Ring: "broad"}}); err != nil || r.Token.Ring != "broad" {
			t.Errorf("running %v: %+v %v", running, r, err)
		}
		if r, err := ask(&Request{Sync: &SyncRequest{}}); err != nil || len(r.Sync.Catalogues) != 1 || r.Sync.Err() != nil {
			t.Errorf("running %v: %+v %v", running, r, err)
		}
		_, err = ask(&Request{Approve: &ApproveRequest{Update: "acme/app@9", Rings: []string{"pilot"}}})
		if !fault.Is(err, fault.Refused) || !strings.Contains(fault.Hint(err), "acme/app@1.0") {
			t.Errorf("running %v: %v (%s)", running, err, fault.Hint(err))
		}
		if r, err := ask(&Request{Unapprove: &UnapproveRequest{Update: "acme/app@1.0"}}); err != nil || len(r.Unapprove.Rings) != 1 {
			t.Errorf("running %v: %+v %v", running, r, err)
		}
	}
}

// hideFolder makes Open fail without the server noticing: its settings are read once.
func hideFolder(t *testing.T, d *Depot) {
	t.Helper()
	if err := os.Rename(d.at.settings(), d.at.settings()+".away"); err != nil {
		t.Fatal(err)
	}
}

func TestAnInterruptedCommandInterruptsItsOperation(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	v.serve(t)
	v.release(t, "app", "1.0", 1, randomBytes(100_000), nil)
	d := newServedDepot(t, v)
	serve(t, d, ServeConfig{SyncEvery: -1})
	asked, gone := make(chan struct{}, 16), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	v.during(func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		asked <- struct{}{}
		select {
		case <-r.Context().Done():
			close(gone)
		case <-time.After(30 * time.Second):
		}
	}, func() {
		ended := make(chan error, 1)
		go func() {
			_, err := Ask(ctx, Config{Dir: string(d.at)}, &Request{Sync: &SyncRequest{}}, nil)
			ended <- err
		}()
		<-asked
		cancel()
		if err := <-ended; err == nil {
			t.Error("it was not interrupted")
		}
		<-gone
	})
	if _, err := Ask(t.Context(), Config{Dir: string(d.at)}, &Request{Sync: &SyncRequest{}}, nil); err != nil {
		t.Errorf("the next one: %v", err)
	}
}

func TestTheSocketRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	d := newServedDepot(t)
	ready, _ := serve(t, d, ServeConfig{SyncEvery: -1})
	info, err := os.Stat(ready.Socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	for name, c := range map[string]struct{ method, path, body, says string }{
		"get":       {"GET", adminPath, "", "404"},
		"path":      {"POST", "/v1/do/", "{}", "404"},
		"large":     {"POST", adminPath, strings.Repeat(" ", maxRequest+1), "400"},
		"empty":     {"POST", adminPath, "", `"kind":2`},
		"nothing":   {"POST", adminPath, "{}", `"kind":2`},
		"two":       {"POST", adminPath, `{"list":{},"sync":{}}`, `"kind":2`},
		"unknown":   {"POST", adminPath, `{"init":{}}`, `"kind":2`},
		"in it":     {"POST", adminPath, `{"list":{"x":1}}`, `"kind":2`},
		"trailing":  {"POST", adminPath, `{"list":{}}{}`, `"kind":2`},
		"no object": {"POST", adminPath, `[]`, `"kind":2`},
		"good":      {"POST", adminPath, `{"list":{}}`, `"done"`},
	} {
		conn, err := dialAdmin(t.Context(), d.at.socket())
		if err != nil || conn == nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: depot\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", c.method, c.path, len(c.body), c.body)
		b, _ := io.ReadAll(conn)
		conn.Close()
		if !bytes.Contains(b, []byte(c.says)) {
			t.Errorf("%s: %q", name, b)
		}
	}
}

func TestALeftOverSocketIsNoServer(t *testing.T) {
	t.Parallel()
	d := newServedDepot(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: d.at.socket(), Net: "unix"})
	if err != nil {
		t.Skip("the path is too long for this test")
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if r, err := Ask(t.Context(), Config{Dir: string(d.at)}, &Request{List: &ListRequest{}}, nil); err != nil || r.List == nil {
		t.Errorf("%+v %v", r, err)
	}
	_, stop := serve(t, d, ServeConfig{SyncEvery: -1})
	stop()
	if _, err := os.Stat(d.at.socket()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
}

func TestASocketInADeepFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep", 20), strings.Repeat("deep", 20))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "admin.sock")
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip("no /proc")
	}
	if c, err := dialAdmin(t.Context(), path); c != nil || err != nil {
		t.Errorf("nobody there: %v %v", c, err)
	}
	l, err := listenAdmin(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			c.Close()
		}
	}()
	c, err := dialAdmin(t.Context(), path)
	if err != nil || c == nil {
		t.Fatalf("%v %v", c, err)
	}
	defer c.Close()
	if uid, err := peerUser(c.(*net.UnixConn)); err != nil || uid != os.Geteuid() {
		t.Errorf("%d %v", uid, err)
	}
}

func TestServingMendsWhatDevicesRead(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	d := newServedDepot(t, v)
	if _, err := syncAll(t, d); err != nil {
		t.Fatal(err)
	}
	good := publicState(t, d)
	if err := os.RemoveAll(d.at.public("v1", "approvals")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.at.public(caFile), []byte("another"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(d.at.serverKey()); err != nil {
		t.Fatal(err)
	}
	again, err := Open(Config{Dir: string(d.at)})
	if err != nil {
		t.Fatal(err)
	}
	ready, _ := serve(t, again, ServeConfig{SyncEvery: -1})
	for name, sum := range publicState(t, d) {
		if good[name] != sum {
			t.Errorf("%s is not as it was", name)
		}
	}
	if _, view := device(t, ready.Tokens[0].Token); view.Fleet() == nil {
		t.Error("no fleet")
	}
}

func TestASlowReaderDoesNotHoldUpTheEnd(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	root := v.release(t, "app", "1.0", 1, randomBytes(8<<20), nil)
	d := newServedDepot(t, v)
	if _, err := approve(t.Context(), d, "acme/app@1.0", "pilot"); err != nil {
		t.Fatal(err)
	}
	ready, stop := serve(t, d, ServeConfig{SyncEvery: -1})
	conn, err := net.Dial("tcp", ready.ContentListen)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	fmt.Fprintf(conn, "GET /content/%s HTTP/1.1\r\nHost: x\r\n\r\n", root)
	if _, err := io.ReadFull(conn, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	stop() // returns after stopPatience, with the reader still there
}

func TestServerCertificateRenewsAtHalfLife(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	now := time.Now()
	first, renewed, err := d.serverCertificate(now)
	if err != nil || renewed {
		t.Fatalf("right after init: %v %v", renewed, err)
	}
	if _, renewed, err := d.serverCertificate(now.Add(serverLifetime/2 - time.Hour)); err != nil || renewed {
		t.Errorf("before half life: %v %v", renewed, err)
	}
	second, renewed, err := d.serverCertificate(now.Add(serverLifetime/2 + time.Hour))
	if err != nil || !renewed || bytes.Equal(first.Certificate[0], second.Certificate[0]) {
		t.Fatalf("after half life: %v %v", renewed, err)
	}
	if metadata.PinOf(mustParse(t, second.Certificate[1])) != metadata.PinOf(mustParse(t, first.Certificate[1])) {
		t.Error("the pin has changed")
	}
	d.set.Hosts = []string{"127.0.0.1", "other.example.org"}
	if third, renewed, err := d.serverCertificate(now.Add(serverLifetime/2 + time.Hour)); err != nil || !renewed || third.Leaf.VerifyHostname("other.example.org") != nil {
		t.Errorf("for another name: %v %v", renewed, err)
	}
	for name, spoil := range map[string]func() error{
		"no certificate":      func() error { return os.Remove(d.at.serverCert()) },
		"damaged certificate": func() error { return os.WriteFile(d.at.serverCert(), []byte("x"), 0o600) },
		"empty key":           func() error { return os.WriteFile(d.at.serverKey(), nil, 0o600) },
		"key of another": func() error {
			leaf, err := mustAuthority(t, d).Issue([]string{"x"}, ca.MinLeaf, now)
			return errors.Join(err, os.WriteFile(d.at.serverKey(), leaf.Key, 0o600))
		},
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if _, renewed, err := d.serverCertificate(now.Add(serverLifetime/2 + time.Hour)); err != nil || !renewed {
			t.Errorf("%s: %v %v", name, renewed, err)
		}
	}
}

func mustAuthority(t *testing.T, d *Depot) *ca.Authority {
	t.Helper()
	a, err := d.authority()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func mustParse(t *testing.T, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPeerOfAnotherUserIsTurnedAway(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be somebody else")
	}
	dir := t.TempDir()
	l, err := listenAdmin(filepath.Join(dir, "s"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "in")
			c.Close()
		}
	}()
	// Nobody else can reach the socket through its modes; here they are opened to see the second lock.
	for path := dir; path != "/" && path != "/tmp"; path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Skip(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "s"), 0o666); err != nil {
		t.Fatal(err)
	}
	for uid, want := range map[int]string{65534: "", 0: "in"} {
		got, err := readAs(t, uid, filepath.Join(dir, "s"))
		if err != nil || got != want {
			t.Errorf("user %d: %q %v", uid, got, err)
		}
	}
}

// readAs connects as another user, from a process of its own.
func readAs(t *testing.T, uid int, socket string) (string, error) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	copied := filepath.Join(filepath.Dir(socket), "exe")
	b, err := os.ReadFile(exe)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(copied, b, 0o755); err != nil {
		return "", err
	}
	defer os.Remove(copied)
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	p, err := os.StartProcess(copied, []string{copied, "-test.run=^$"}, &os.ProcAttr{
		Dir: "/", Env: []string{"DUNLIN_TEST_READ_SOCKET=" + socket}, Files: []*os.File{nil, w, w},
		Sys: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}},
	})
	w.Close()
	if err != nil {
		return "", err
	}
	out, err := io.ReadAll(r)
	_, waitErr := p.Wait()
	return string(out), errors.Join(err, waitErr)
}

func TestMain(m *testing.M) {
	if socket := os.Getenv("DUNLIN_TEST_READ_SOCKET"); socket != "" {
		c, err := net.Dial("unix", socket)
		if err == nil {
			_, _ = io.Copy(os.Stdout, c)
		} else {
			fmt.Print(err)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}
