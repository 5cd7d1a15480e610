package hostile

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/repository/ca"
)

// token is what the depot gives out, perhaps edited.
func (w *world) token(edit func(*metadata.Token)) string {
	w.t.Helper()
	w.depot("token", "create", "--ring", ring, "--file", w.path("token")).check(w.t, 0)
	token, err := metadata.ParseToken(string(read(w.t, w.path("token"))))
	if err != nil {
		w.t.Fatal(err)
	}
	if edit != nil {
		edit(token)
	}
	text, err := token.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

// joins runs join on a new device. After a failure nothing may have been written.
func (w *world) joins(token string, code int, says ...string) *device {
	w.t.Helper()
	d := w.newDevice()
	w.dunlin("join", token, "--config", d.config, "--state-dir", d.state).check(w.t, code, says...)
	for _, path := range []string{d.config, filepath.Join(d.state, "anchors", "approvals-root.json")} {
		if _, err := os.Stat(path); (err == nil) != (code == 0) {
			w.t.Errorf("after exit code %d, %s: %v", code, path, err)
		}
	}
	return d
}

// TestJoinWithAnEditedToken: a character that changed is seen by the checksum; whoever makes the checksum anew has a token
// for another depot.
func TestJoinWithAnEditedToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app := payload(t.Name(), 5000)
	w.offer("app", "1.0", app)
	good := w.token(nil)
	for _, at := range []int{9, len(good) / 2, len(good) - 1} {
		b := []byte(good)
		if b[at] == 'A' {
			b[at] = 'B'
		} else {
			b[at] = 'A'
		}
		w.joins(string(b), 2, "token")
	}
	w.joins(good[:len(good)/2], 2, "token")
	w.joins(w.token(func(k *metadata.Token) { k.CA[0] ^= 1 }), 4, "the token names")
	w.joins(w.token(func(k *metadata.Token) { k.Root[0] ^= 1 }), 4, "the token names")
	w.joins(w.token(func(k *metadata.Token) { k.RootVersion = 7 }), 3, "7.root.json")
	d := w.joins(good, 0)
	d.ends(0)
	d.has("app", app)
}

// TestJoinMeetsAnotherAuthority: that is found before anything is asked for over TLS.
func TestJoinMeetsAnotherAuthority(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.token(nil)
	stranger, err := ca.New("somebody", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	files := http.FileServer(http.Dir(w.public()))
	for name, c := range map[string]struct {
		authority []byte
		code      int
		asked     string
	}{
		"somebody's":       {stranger.CertPEM(), 4, "[http /ca.pem]"},
		"a damaged one":    {[]byte(strings.Replace(string(w.authority().CertPEM()), "M", "N", 1)), 4, "[http /ca.pem]"},
		"a page":           {[]byte("<html>Welcome"), 3, "[http /ca.pem]"},
		"the right one":    {w.authority().CertPEM(), 4, "[http /ca.pem]"}, // and a certificate of somebody's for TLS
		"the right one...": {nil, 3, "[http /ca.pem]"},
	} {
		cert := certificate(t, stranger, time.Now(), w.host)
		w.replaced(cert, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/ca.pem":
				_, _ = rw.Write(c.authority)
			default:
				files.ServeHTTP(rw, r)
			}
		}), func(i *impostor) {
			w.joins(token, c.code, w.host)
			conns, requests := i.seen()
			if fmt.Sprint(requests) != c.asked {
				t.Errorf("%s: it was asked for %v, want %v", name, requests, c.asked)
			}
			if right := name == "the right one"; (conns > 0) != right {
				t.Errorf("%s: %d connections by TLS", name, conns)
			}
		})
	}
	w.joins(token, 0)
}

// TestJoinMeetsAnotherRoot: the authority is right, but what the depot says to be the root of the approvals is not the one
// that the token names. A depot that was taken over cannot hand a new device another organisation.
func TestJoinMeetsAnotherRoot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.token(nil)
	path := w.public("v1", "approvals", "metadata", "1.root.json")
	for _, at := range positions(len(read(t, path))) {
		mend := flip(t, path, at)
		w.joins(token, 4, "the token names", w.host)
		mend()
	}
	good := read(t, path)
	write(t, path, []byte("<html>It works!"))
	w.joins(token, 3, w.host)
	write(t, path, good)
	w.joins(token, 0)
}

// TestJoinReachesNobody.
func TestJoinReachesNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.token(nil)
	w.joins(w.token(func(k *metadata.Token) { k.Content = []string{"http://" + loopback() + plainPort} }), 3, "ca.pem")
	w.joins(w.token(func(k *metadata.Token) { k.Depots = []string{"https://" + loopback() + tlsPort} }), 3, "1.root.json")
	w.joins(w.token(func(k *metadata.Token) { k.Depots = []string{"https://depot.invalid"} }), 3, "depot.invalid")
	w.stopServing()
	w.joins(token, 3, w.host)
	w.serve()
	w.joins(token, 0)
}
