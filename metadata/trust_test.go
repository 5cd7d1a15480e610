package metadata_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/metadatatest"
	"github.com/dunlin-project/dunlin/piecehash"
)

func trust(t *testing.T) *metadata.Trust {
	t.Helper()
	ca := metadatatest.NewAuthority(t, "acme releases", start())
	return &metadata.Trust{
		Format: metadata.TrustFormat, Publisher: "acme", Root: []byte(`{"signed":{}}`), Keys: []metadata.PayloadKey{payloadKey()},
		Catalogues: []string{"https://updates.acme.example/", "file:///srv/acme"}, CA: string(ca.PEM), Pins: []metadata.Pin{ca.Pin()}, Origins: []string{"https://cdn.example/"},
	}
}

func TestTrustFile(t *testing.T) {
	t.Parallel()
	want := trust(t)
	b, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := metadata.ParseTrust(b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	text := string(b)
	for what, bad := range map[string]string{
		"empty": "", "null": "null", "cut": text[:len(text)/2], "unknown key": strings.Replace(text, `"format"`, `"also":1,"format"`, 1),
		"key twice": strings.Replace(text, `"format"`, `"publisher":"acme","format"`, 1), "format": strings.Replace(text, "trust/1", "trust/2", 1),
		"no URL": strings.Replace(text, `"https://updates.acme.example/",`, "", 1)[:40], "more": text + "{}", "large": text + strings.Repeat(" ", metadata.MaxTrustSize),
		"publisher": strings.Replace(text, `"acme"`, `"../acme"`, 1), "root is no base64": strings.Replace(text, `"root": "`, `"root": "!`, 1),
	} {
		if _, err := metadata.ParseTrust([]byte(bad)); !fault.Is(err, fault.Refused) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := (&metadata.Trust{}).Encode(); err == nil {
		t.Error("an empty trust record was encoded")
	}
}

// TestFingerprint is over what decides whom to believe, and nothing else.
func TestFingerprint(t *testing.T) {
	t.Parallel()
	base := trust(t)
	want := base.Fingerprint()
	for what, c := range map[string]struct {
		change func(t *metadata.Trust)
		same   bool
	}{
		"addresses": {func(t *metadata.Trust) { t.Catalogues, t.Origins = []string{"file:///x"}, nil }, true},
		"publisher": {func(t *metadata.Trust) { t.Publisher = "zorg" }, false},
		"root":      {func(t *metadata.Trust) { t.Root = []byte("x") }, false},
		"keys":      {func(t *metadata.Trust) { t.Keys = append(t.Keys, t.Keys[0]) }, false},
		"pins":      {func(t *metadata.Trust) { t.Pins = append(t.Pins, metadata.Pin{5}) }, false},
		"CA":        {func(t *metadata.Trust) { t.CA += "\n" }, false},
	} {
		other := *base
		c.change(&other)
		if (other.Fingerprint() == want) != c.same {
			t.Errorf("%s: same fingerprint: %v", what, !c.same)
		}
	}
	r := base.Record([]string{"file"}, []string{"/opt"})
	if r.Name != "acme" || !reflect.DeepEqual(r.Pins, base.Pins) || r.Handlers[0] != "file" || r.Destinations[0] != "/opt" {
		t.Errorf("record %+v", r)
	}
}

func token() *metadata.Token {
	return &metadata.Token{
		Version: metadata.TokenVersion, Depots: []string{"https://depot.example:8443"}, Content: []string{"http://depot.example:8080"},
		CA: metadata.Pin{1}, Root: piecehash.Hash{2}, RootVersion: 1, Ring: "pilot", Secret: "s3cret",
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	text, err := token().Encode()
	if err != nil || !strings.HasPrefix(text, "dunlin1.") || strings.ContainsAny(text, " \n+/=") {
		t.Fatalf("%q, %v", text, err)
	}
	got, err := metadata.ParseToken("\n  " + text + " \r\n")
	if err != nil || !reflect.DeepEqual(got, token()) {
		t.Errorf("%+v, %v", got, err)
	}
	for i := range len(text) {
		if _, err := metadata.ParseToken(text[:i]); !fault.Is(err, fault.Usage) || fault.Hint(err) == "" {
			t.Errorf("cut to %d: %v", i, err)
		}
		b := []byte(text)
		b[i] ^= 1
		if _, err := metadata.ParseToken(string(b)); !fault.Is(err, fault.Usage) {
			t.Errorf("changed at %d: %v", i, err)
		}
	}
	for what, bad := range map[string]string{
		"twice": text + text, "longer": text + "x", "large": "dunlin1." + strings.Repeat("A", metadata.MaxTokenSize) + ".AAAAAAAA",
		"other version": "dunlin2." + strings.TrimPrefix(text, "dunlin1."), "spaces inside": text[:20] + " " + text[20:],
	} {
		if _, err := metadata.ParseToken(bad); !fault.Is(err, fault.Usage) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestTokenIsSound(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func(t *metadata.Token){
		"version": func(t *metadata.Token) { t.Version = 2 }, "no depot": func(t *metadata.Token) { t.Depots = nil }, "depot over HTTP": func(t *metadata.Token) { t.Depots[0] = "http://x" },
		"no content": func(t *metadata.Token) { t.Content = nil }, "content over HTTPS": func(t *metadata.Token) { t.Content[0] = "https://x" },
		"no CA": func(t *metadata.Token) { t.CA = metadata.Pin{} }, "no root": func(t *metadata.Token) { t.Root = piecehash.Hash{} },
		"root version": func(t *metadata.Token) { t.RootVersion = 0 }, "ring": func(t *metadata.Token) { t.Ring = "a/b" }, "secret": func(t *metadata.Token) { t.Secret = "a\nb" },
	} {
		tok := token()
		change(tok)
		if _, err := tok.Encode(); !fault.Is(err, fault.Usage) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	if got := metadata.ApprovalPath("pilot", "acme", "app", "1.0"); got != "pilot/acme/app/1.0" {
		t.Error(got)
	}
	if got := metadata.TargetFile("publisher/acme", piecehash.Hash{}); got != "targets/publisher/"+strings.Repeat("0", 64)+".acme" {
		t.Error(got)
	}
	if got := metadata.TargetFile("fleet", piecehash.Hash{}); got != "targets/"+strings.Repeat("0", 64)+".fleet" {
		t.Error(got)
	}
	if metadata.MetadataFile("timestamp", 0) != "metadata/timestamp.json" || metadata.MetadataFile("ring-a", 3) != "metadata/3.ring-a.json" {
		t.Error("metadata file")
	}
	for role, want := range map[string]string{"ring-pilot": "pilot", "ring-": "", "targets": "", "ring-A": "", "xring-a": ""} {
		if ring, ok := metadata.RingOfRole(role); ok != (want != "") || ok && ring != want {
			t.Errorf("%s: %q %v", role, ring, ok)
		}
	}
	longest := strings.Repeat("a", metadata.MaxRingLength)
	if metadata.CheckRing(longest) != nil || metadata.CheckRing(longest+"a") == nil || len(metadata.RingRole(longest)) != metadata.MaxNameLength {
		t.Error("the longest ring does not make the longest role")
	}
}
