package hostile

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/dunlin-project/dunlin/agent"
)

// scene is a world with a payload on offer and a device that has not seen it yet.
type scene struct {
	*world
	*device
	app  []byte
	root string // of the content
}

func newScene(t *testing.T) *scene {
	t.Helper()
	w := newWorld(t)
	app := payload(t.Name(), 600_000)
	root := w.offer("app", "1.0", app)
	return &scene{w, w.join(), app, root}
}

// content is where the depot, the only origin, has the payload.
func (s *scene) content() string { return s.public("content", s.root) }

// sync has the depot mirror what the publisher has signed by now.
func (s *scene) sync() {
	s.t.Helper()
	s.depot("sync").check(s.t, 0)
}

// TestAFlippedBitInThePayload has the only origin serve a payload in which one bit is wrong.
func TestAFlippedBitInThePayload(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for _, at := range positions(len(s.app)) {
		d := s.clone()
		mend := flip(t, s.content(), at)
		d.ends(4, publisherName+"/app 1.0", s.host)
		d.has("app", nil)
		if u := d.update("app", "1.0"); u.State != agent.StateFailed || u.Error == nil || u.Error.Kind != word(4) {
			t.Errorf("the status says %+v", u)
		}
		mend()
		d.ends(0)
		d.has("app", s.app)
	}
}

// TestTheSignatureOfAPayload: what both repositories agree on, but the publisher's payload key did not sign.
func TestTheSignatureOfAPayload(t *testing.T) {
	t.Parallel()
	other := newPublisher(t)
	root := other.release("app", "1.0", payload(t.Name(), 100_000))
	theirs := strings.Split(string(read(t, other.path(publisherName, "public", "content", root+".minisig"))), "\n")
	for name, change := range map[string]func(*scene, record){
		"a flipped bit in the signature":        func(s *scene, r record) { respell(r, 1, 40) },
		"a flipped bit in the trusted comment":  func(s *scene, r record) { respell(r, 2, 30) },
		"a flipped bit in the second signature": func(s *scene, r record) { respell(r, 3, 20) },
		"another key under the same name": func(s *scene, r record) {
			mine := strings.Split(signatureOf(r)["inline"].(string), "\n")
			mine[1], mine[3] = passOff(s.t, theirs[1], mine[1]), theirs[3]
			signatureOf(r)["inline"] = strings.Join(mine, "\n")
		},
		"the signature of another file": func(s *scene, r record) {
			s.release("other", "1.0", []byte("another file"))
			s.forge("other", "1.0", func(o record) { signatureOf(r)["inline"] = signatureOf(o)["inline"] })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			app := payload(t.Name(), 100_000)
			w.release("app", "1.0", app)
			s := &scene{world: w, device: w.join(), app: app}
			var good string
			var spoilt record
			s.forge("app", "1.0", func(r record) { good, spoilt = signatureOf(r)["inline"].(string), r })
			change(s, spoilt)
			s.forge("app", "1.0", func(r record) { r["signature"] = spoilt["signature"] })
			s.approve("app", "1.0")
			s.ends(4, "signature")
			s.has("app", nil)
			s.forge("app", "1.0", func(r record) { signatureOf(r)["inline"] = good })
			s.approve("app", "1.0")
			s.ends(0)
			s.has("app", app)
		})
	}
}

func signatureOf(r record) map[string]any { return r["signature"].(map[string]any) }

// passOff puts the id of the key in one signature line in the place of that in another.
func passOff(t *testing.T, theirs, mine string) string {
	t.Helper()
	a, errA := base64.StdEncoding.DecodeString(theirs)
	b, errB := base64.StdEncoding.DecodeString(mine)
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	const idEnds = 2 + 8 // bytes: the algorithm, the id
	return base64.StdEncoding.EncodeToString(append(b[:idEnds:idEnds], a[idEnds:]...))
}

// respell changes one bit of what a character of a line of the signature file stands for.
func respell(r record, line, at int) {
	lines := strings.Split(signatureOf(r)["inline"].(string), "\n")
	b := []byte(lines[line])
	switch {
	case b[at] == 'A':
		b[at] = 'B' // 000000, 000001
	case b[at] == 'a':
		b[at] = 'b' // 011010, 011011
	default:
		b[at] = 'A'
	}
	lines[line] = string(b)
	signatureOf(r)["inline"] = strings.Join(lines, "\n")
}

// TestASignatureFile is fetched from where the record says that it is, because the organisation names that server, too: a
// publisher's word alone leads only to public addresses.
func TestASignatureFile(t *testing.T) {
	t.Parallel()
	w := newPublisher(t)
	web := httptest.NewServer(http.FileServer(http.Dir(w.path(publisherName, "public"))))
	defer web.Close()
	w.initDepot("--origin", web.URL)
	w.serve()
	app := payload(t.Name(), 100_000)
	root := w.release("app", "1.0", app)
	file := w.path(publisherName, "public", "content", root+".minisig")
	w.forge("app", "1.0", func(r record) {
		delete(signatureOf(r), "inline")
		signatureOf(r)["url"] = web.URL + "/content/" + root + ".minisig"
	})
	w.approve("app", "1.0")
	text := string(read(t, file))
	for _, at := range []int{strings.Index(text, "\n") + 40, len(text) - 20} {
		d := w.join()
		mend := flip(t, file, at)
		d.ends(4, "signature")
		d.has("app", nil)
		mend()
		mend = hide(t, file)
		d.ends(3, "signature")
		d.has("app", nil)
		mend()
		d.ends(0)
		d.has("app", app)
	}
}

// TestAnotherPayloadKey: the record names a key that the organisation has never been told of.
func TestAnotherPayloadKey(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.forge("app", "1.0", func(r record) { signatureOf(r)["key_id"] = "0123456789ABCDEF" })
	s.depot("approve", name("app", "1.0"), "--ring", ring).check(t, 5, "0123456789ABCDEF")
	s.depot("sync").check(t, 0)
	s.ends(5)
	s.has("app", nil)
}

// TestApprovedWithAnotherHash: after the approval the publisher gives the same version another payload.
func TestApprovedWithAnotherHash(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	other := payload("other", 500_000)
	s.must("publish", "withdraw", s.path(publisherName), "app@1.0")
	s.must("publish", "release", s.path(publisherName))
	s.release("app", "1.0", other)
	s.sync()
	s.ends(4, "what was approved has 600000 bytes", "the catalogue signs 500000")
	s.has("app", nil)
	if u := s.update("app", "1.0"); u.State != agent.StateRefused {
		t.Errorf("the status says %+v", u)
	}
	s.approve("app", "1.0")
	s.ends(0)
	s.has("app", other)
}

// TestApprovedButAbsent: the publisher has withdrawn what was approved.
func TestApprovedButAbsent(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.must("publish", "withdraw", s.path(publisherName), "app@1.0")
	s.must("publish", "release", s.path(publisherName))
	s.sync()
	s.ends(5, "the catalogue does not have it", "app")
	s.has("app", nil)
	s.depot("approve", name("app", "1.0"), "--ring", ring).check(t, 5)
	s.release("app", "1.0", s.app)
	s.approve("app", "1.0")
	s.ends(0)
	s.has("app", s.app)
}

// TestACriticalFieldThatNobodyKnows stands in a record that was harmless when it was approved.
func TestACriticalFieldThatNobodyKnows(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.dunlin("publish", "add", s.path(publisherName), s.path("app-1.0"), "--id", "app", "--version", "1.1", "--dest", "/opt/app", "--crit", "quantum").
		check(t, 5, "quantum")
	s.forge("app", "1.0", func(r record) { r["crit"], r["quantum"] = []string{"quantum"}, 1 })
	s.sync()
	s.ends(5, "quantum", "newer agent")
	s.has("app", nil)
	s.depot("approve", name("app", "1.0"), "--ring", ring).check(t, 5, "quantum")
	s.forge("app", "1.0", func(r record) { delete(r, "crit"); delete(r, "quantum") })
	s.sync()
	s.ends(0)
	s.has("app", s.app)
}

// TestNotApproved is no error.
func TestNotApproved(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.release("tool", "2.0", []byte("a tool"))
	s.sync()
	s.ends(0)
	s.has("app", s.app)
	s.has("tool", nil)
	if u := s.update("tool", "2.0"); u.State != agent.StateNotApproved || u.Error != nil {
		t.Errorf("the status says %+v", u)
	}
	s.unapprove("app", "1.0")
	d := s.join()
	d.ends(0)
	d.has("app", nil)
	if u := d.update("app", "1.0"); u.State != agent.StateNotApproved {
		t.Errorf("the status says %+v", u)
	}
}

// TestTheWorstJobDecides: of four updates one is good and installed, whatever the others are (unavailable, refused,
// untrusted); the exit code is that of the worst, and changes as one after the other is mended.
func TestTheWorstJobDecides(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	content := map[string]string{}
	for _, id := range []string{"good", "gone", "odd", "spoilt"} {
		content[id] = w.offer(id, "1.0", payload(id, 50_000))
	}
	d := w.join()
	d.w.forge("odd", "1.0", func(r record) { r["crit"], r["quantum"] = []string{"quantum"}, 1 })
	w.depot("sync").check(t, 0)
	bring := hide(t, w.public("content", content["gone"]))
	mend := flip(t, w.public("content", content["spoilt"]), 25_000)
	installed := func(ids ...string) {
		t.Helper()
		for id := range content {
			want := []byte(nil)
			for _, i := range ids {
				if i == id {
					want = payload(id, 50_000)
				}
			}
			d.has(id, want)
		}
	}
	d.ends(4)
	installed("good")
	mend()
	bring()
	d.ends(5)
	installed("good", "spoilt", "gone")
	w.forge("odd", "1.0", func(r record) { delete(r, "crit"); delete(r, "quantum") })
	w.depot("sync").check(t, 0)
	d.ends(0)
	installed("good", "spoilt", "odd", "gone")
}

// TestOnlyOriginGone: the metadata is there and the content is not.
func TestOnlyOriginGone(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	mend := hide(t, s.content())
	s.ends(3, "app", s.host)
	s.has("app", nil)
	mend()
	s.ends(0)
	s.has("app", s.app)
}
