package metadata_test

import (
	"bytes"
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/metadatatest"
)

func TestMirror(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	ca := metadatatest.NewAuthority(t, "acme releases", start())
	d := &depot{files: map[string][]byte{}}
	serve := func() {
		d.set(func(d *depot) {
			for name, b := range s.pub.Catalogue.Files {
				d.files["/updates/"+name] = b
			}
		})
	}
	serve()
	server := ca.Serve(d, ca.Server(nil), nil)
	trust := s.pub.Trust(server.URL+"/updates/", string(ca.PEM), ca.Pin())
	m, err := metadata.NewMirror(metadata.MirrorConfig{Dir: filepath.Join(t.TempDir(), "mirror"), Trust: trust, Proxy: direct})
	if err != nil {
		t.Fatal(err)
	}
	c, err := m.Sync(t.Context(), start())
	if err != nil || len(c.Targets()) != 1 || c.Publisher() != "acme" {
		t.Fatalf("mirror: %v", err)
	}
	for name, b := range c.Files() {
		if !bytes.Equal(b, s.pub.Catalogue.Files[name]) {
			t.Errorf("%s was changed", name)
		}
	}
	if c.Files()["metadata/1.root.json"] == nil {
		t.Error("the root is not among the files")
	}
	flip(s.pub.Catalogue, "snapshot")
	s.pub.Catalogue.PublishTimestamp()
	serve()
	if _, err := m.Sync(t.Context(), start()); err != nil {
		t.Errorf("a damaged file that is known already: %v", err)
	}
	flip(s.pub.Catalogue, "timestamp")
	serve()
	if _, err := m.Sync(t.Context(), start()); !fault.Is(err, fault.Untrusted) {
		t.Errorf("tampered upstream: %v", err)
	}
}

func TestBootstrap(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	ca := metadatatest.NewAuthority(t, "Dunlin depot", start())
	other := metadatatest.NewAuthority(t, "Dunlin depot", start())
	root := metadata.ApprovalsPath + "/metadata/1.root.json"
	cases := map[string]struct {
		plain  func(files map[string][]byte)
		secure func(files map[string][]byte)
		kind   fault.Kind
		text   string
	}{
		"good":            {},
		"another CA":      {plain: func(f map[string][]byte) { f["/ca.pem"] = other.PEM }, kind: fault.Untrusted, text: "the token names"},
		"flipped CA":      {plain: func(f map[string][]byte) { b := slices.Clone(ca.PEM); b[200] ^= 1; f["/ca.pem"] = b }, kind: fault.Untrusted},
		"two CAs":         {plain: func(f map[string][]byte) { f["/ca.pem"] = append(slices.Clone(ca.PEM), other.PEM...) }, kind: fault.Untrusted},
		"HTML for the CA": {plain: func(f map[string][]byte) { f["/ca.pem"] = []byte("<html>") }, kind: fault.Unavailable},
		"no CA":           {plain: func(f map[string][]byte) { delete(f, "/ca.pem") }, kind: fault.Unavailable},
		"another root":    {secure: func(f map[string][]byte) { f[root] = s.pub.Root }, kind: fault.Untrusted, text: "the token names"},
		"flipped root":    {secure: func(f map[string][]byte) { b := slices.Clone(f[root]); b[0] ^= 1; f[root] = b }, kind: fault.Untrusted},
		"HTML for root":   {secure: func(f map[string][]byte) { f[root] = []byte("<html>") }, kind: fault.Unavailable},
		"no root":         {secure: func(f map[string][]byte) { delete(f, root) }, kind: fault.Unavailable},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plain, secure := &depot{files: map[string][]byte{"/ca.pem": ca.PEM}}, &depot{files: s.org.Served()}
			if c.plain != nil {
				c.plain(plain.files)
			}
			if c.secure != nil {
				c.secure(secure.files)
			}
			content := httptest.NewServer(plain)
			t.Cleanup(content.Close)
			token := s.org.Token(ca.Pin(), ca.Serve(secure, ca.Server(nil), nil).URL, content.URL, "pilot")
			j, err := metadata.Bootstrap(t.Context(), token, start(), direct)
			if fault.Of(err) != c.kind || !strings.Contains(fmt.Sprint(err), c.text) {
				t.Fatalf("%v: %v", fault.Of(err), err)
			}
			if c.kind != 0 {
				if fault.Hint(err) == "" {
					t.Errorf("%v: it does not say what to try", err)
				}
				if len(secure.asked) > 0 && c.plain != nil {
					t.Error("the depot was asked before its authority was known")
				}
				return
			}
			if !bytes.Equal(j.Anchor, s.org.Anchor()) || !bytes.Equal(j.CA, ca.PEM) || j.Token != token {
				t.Error("something else was returned")
			}
		})
	}
}
