package metadata_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/metadatatest"
	"github.com/dunlin-project/dunlin/piecehash"
)

const keyLine = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"

func payloadKey() metadata.PayloadKey {
	return metadata.PayloadKey{Scheme: metadata.SchemeMinisign, ID: "E7620F1842B4E81F", Key: keyLine}
}

// full is an update with every field set.
func full() *metadata.Update {
	return &metadata.Update{
		Publisher: "acme", ID: "app", Title: "App für alle", Kind: metadata.KindApp, Version: "1.0+b~2", Release: 7, Severity: metadata.SeverityCritical,
		Released: start(), Root: piecehash.Root{1}, PieceLength: 1 << 20, Uncompressed: 5 << 20,
		Supersedes: []string{"old-app"}, Requires: []metadata.Requirement{{ID: "runtime", Version: "2", SHA256: piecehash.Hash{3}}},
		Applicability: `os == "linux" && version.atLeast("12")`, Hardware: []string{"pci:8086:1234"},
		Handler: metadata.HandlerTree, Arguments: []string{"--quiet", ""}, Destination: "/opt/app", Mode: "0755", Owner: "root:adm", Timeout: 60,
		Health: &metadata.HealthCheck{Command: []string{"/opt/app/check", "-q"}, Timeout: 5}, Success: []int{0, 3}, Reboot: []int{194},
		Removable: &metadata.Removal{Arguments: []string{"--purge"}}, LowestDowngrade: 3,
		Signature: metadata.PayloadSignature{Scheme: metadata.SchemeMinisign, KeyID: payloadKey().ID, Inline: "untrusted comment: x\n"},
		Origins:   []string{"http://cdn.example/acme/"},
	}
}

func approval() *metadata.Approval {
	return &metadata.Approval{
		Catalogue: "app/1.0", Record: piecehash.Hash{4}, Action: metadata.ActionInstall, NotBefore: start(), Deadline: start().Add(time.Hour),
		ShareBP: 2500, Peering: true, Downgrade: true,
	}
}

func publisher(t *testing.T) *metadata.Publisher {
	t.Helper()
	ca := metadatatest.NewAuthority(t, "acme releases", start())
	return &metadata.Publisher{
		Name: "acme", Keys: []metadata.PayloadKey{payloadKey()}, Handlers: []string{"file"}, Destinations: []string{"/opt"},
		Catalogues: []string{"https://updates.acme.example/x", "file:///srv/acme"}, CA: string(ca.PEM), Pins: []metadata.Pin{ca.Pin(), {1}}, Origins: []string{"http://cdn.example"},
	}
}

func fleet() *metadata.Fleet {
	return &metadata.Fleet{Origins: []string{"http://depot:8080"}, Caches: []string{"http://cache"}, Group: "lan", Policy: json.RawMessage(`{"limit":5}`)}
}

func TestRecordsComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	u, a, p, f := full(), approval(), publisher(t), fleet()
	custom := func(r interface {
		Custom() (json.RawMessage, error)
	},
	) json.RawMessage {
		b, err := r.Custom()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if got, sum, err := metadata.ParseUpdate(custom(u)); err != nil || !reflect.DeepEqual(got, u) || sum == (piecehash.Hash{}) {
		t.Errorf("update: %+v, %v", got, err)
	}
	if got, err := metadata.ParseApproval(custom(a)); err != nil || !reflect.DeepEqual(got, a) {
		t.Errorf("approval: %+v, %v", got, err)
	}
	if got, err := metadata.ParsePublisher(custom(p)); err != nil || !reflect.DeepEqual(got, p) {
		t.Errorf("publisher: %+v, %v", got, err)
	}
	if got, err := metadata.ParseFleet(custom(f)); err != nil || !reflect.DeepEqual(got, f) {
		t.Errorf("fleet: %+v, %v", got, err)
	}
}

// TestDigestIsOfTheMeaning: white space and escapes do not change it, everything else does.
func TestDigestIsOfTheMeaning(t *testing.T) {
	t.Parallel()
	custom, err := full().Custom()
	if err != nil {
		t.Fatal(err)
	}
	digest := func(b []byte) piecehash.Hash {
		_, sum, err := metadata.ParseUpdate(b)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	want := digest(custom)
	escaped := strings.ReplaceAll(strings.ReplaceAll(string(custom), "&", `\u0026`), ":{", ": {")
	if escaped == string(custom) || digest([]byte(escaped)) != want {
		t.Error("another text with the same meaning has another digest")
	}
	for _, change := range []func(u *metadata.Update){
		func(u *metadata.Update) { u.Arguments[0] = "--loud" },
		func(u *metadata.Update) { u.Arguments = u.Arguments[:1] },
		func(u *metadata.Update) { u.Timeout++ },
		func(u *metadata.Update) { u.Success = nil },
		func(u *metadata.Update) { u.Destination = "/opt/App" },
	} {
		u := full()
		change(u)
		b, err := u.Custom()
		if err != nil {
			t.Fatal(err)
		}
		if digest(b) == want {
			t.Errorf("%s has the same digest", b)
		}
	}
	unknown := strings.Replace(string(custom), `{"v1":{`, `{"v1":{"later":1,`, 1)
	if digest([]byte(unknown)) == want {
		t.Error("a field that is ignored is not in the digest")
	}
}

func TestCrit(t *testing.T) {
	t.Parallel()
	custom, err := full().Custom()
	if err != nil {
		t.Fatal(err)
	}
	for fields, ok := range map[string]bool{
		`"later":1`: true, `"crit":[]`: true, `"crit":["handler","root"]`: true, `"crit":["later"],"later":1`: false, `"crit":["later"]`: false,
		`"crit":["handler","later"]`: false, `"crit":["Handler"]`: false, `"crit":[""]`: false, `"crit":"later"`: false, `"crit":[1]`: false,
	} {
		b := strings.Replace(string(custom), `{"v1":{`, `{"v1":{`+fields+`,`, 1)
		_, _, err := metadata.ParseUpdate([]byte(b))
		if ok != (err == nil) || err != nil && !fault.Is(err, fault.Refused) {
			t.Errorf("%s: %v", fields, err)
		}
		if strings.Contains(fields, "[\"later") && !strings.Contains(fault.Hint(err), "a newer agent is needed") {
			t.Errorf("%s: hint %q", fields, fault.Hint(err))
		}
	}
}

// TestCritTakesWhatIsActedOn goes through all fields of all records: those that are only parsed must not be named.
func TestCritTakesWhatIsActedOn(t *testing.T) {
	t.Parallel()
	parse := map[reflect.Type]func([]byte) error{
		reflect.TypeFor[metadata.Update]():    func(b []byte) error { _, _, err := metadata.ParseUpdate(b); return err },
		reflect.TypeFor[metadata.Approval]():  func(b []byte) error { _, err := metadata.ParseApproval(b); return err },
		reflect.TypeFor[metadata.Publisher](): func(b []byte) error { _, err := metadata.ParsePublisher(b); return err },
		reflect.TypeFor[metadata.Fleet]():     func(b []byte) error { _, err := metadata.ParseFleet(b); return err },
	}
	inert := []string{"Update.kind", "Update.removable", "Fleet.policy"}
	for record, read := range parse {
		for i := range record.NumField() {
			name, _, _ := strings.Cut(record.Field(i).Tag.Get("json"), ",")
			field := record.Name() + "." + name
			err := read([]byte(`{"v1":{"crit":["` + name + `"]}}`))
			refused := err != nil && strings.Contains(fault.Hint(err), "newer agent")
			if want := name == "crit" || slices.Contains(inert, field); refused != want {
				t.Errorf("%s: refused %v: %v", field, refused, err)
			}
		}
	}
}

// TestNewerRecords: a record that only a newer agent understands is refused, and says so.
func TestNewerRecords(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{"v2":{}}`, `{}`, `{"v1":[]}`, `{"v1":"x"}`, `{"v1":{"crit":["handler2"],"handler":{"name":"file"}}}`,
	} {
		if _, _, err := metadata.ParseUpdate([]byte(text)); !fault.Is(err, fault.Refused) || !strings.Contains(fault.Hint(err), "newer agent") {
			t.Errorf("%s: %v, hint %q", text, err, fault.Hint(err))
		}
	}
	custom, err := full().Custom()
	if err != nil {
		t.Fatal(err)
	}
	both := strings.Replace(string(custom), `{"v1":`, `{"v2":{"x":[1]},"v1":`, 1)
	if _, _, err := metadata.ParseUpdate([]byte(both)); err != nil {
		t.Errorf("a record for old and new readers: %v", err)
	}
}

func TestMalformedRecords(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "null", "[]", `{"v1":null}`, `{"v1":{}}`, `{"v1":{"release":1.5}}`, `{"v1":{"a":1,"a":1}}`, `{"v1":{"Handler":"exec"}}`, `{"v1":{}}x`,
		`{"v1":` + strings.Repeat(`{"a":`, 50) + `1` + strings.Repeat("}", 51), `{"v1":{"title":"` + strings.Repeat("x", metadata.MaxRecordSize) + `"}}`,
		`{"v1":{"release":"1"}}`, `{"v1":{"released":"yesterday"}}`, `{"v1":{"root":"00"}}`, `{"v1":{"root":"` + strings.Repeat("AB", 32) + `"}}`,
	} {
		if _, _, err := metadata.ParseUpdate([]byte(text)); !fault.Is(err, fault.Refused) {
			t.Errorf("update %.60s: %v", text, err)
		}
		if _, err := metadata.ParseApproval([]byte(text)); !fault.Is(err, fault.Refused) {
			t.Errorf("approval %.60s: %v", text, err)
		}
		if _, err := metadata.ParsePublisher([]byte(text)); !fault.Is(err, fault.Refused) {
			t.Errorf("publisher %.60s: %v", text, err)
		}
		if _, err := metadata.ParseFleet([]byte(text)); !fault.Is(err, fault.Refused) {
			t.Errorf("fleet %.60s: %v", text, err)
		}
	}
}

// TestUpdateIsSound: what Custom refuses, no publisher can sign by mistake.
func TestUpdateIsSound(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 5000)
	many := make([]string, metadata.MaxList+1)
	for what, change := range map[string]func(u *metadata.Update){
		"publisher":             func(u *metadata.Update) { u.Publisher = "Acme" },
		"publisher empty":       func(u *metadata.Update) { u.Publisher = "" },
		"publisher like a flag": func(u *metadata.Update) { u.Publisher = "-x" },
		"id with a slash":       func(u *metadata.Update) { u.ID = "a/b" },
		"id going up":           func(u *metadata.Update) { u.ID = ".." },
		"id long":               func(u *metadata.Update) { u.ID = long[:65] },
		"version":               func(u *metadata.Update) { u.Version = "1 0" },
		"version with a glob":   func(u *metadata.Update) { u.Version = "*" },
		"title":                 func(u *metadata.Update) { u.Title = long },
		"title with an escape":  func(u *metadata.Update) { u.Title = "a\x1b[2J" },
		"title with RTL":        func(u *metadata.Update) { u.Title = "a\u202eb" },
		"kind":                  func(u *metadata.Update) { u.Kind = "game" },
		"severity":              func(u *metadata.Update) { u.Severity = "meh" },
		"release":               func(u *metadata.Update) { u.Release = 0 },
		"release negative":      func(u *metadata.Update) { u.Release = -1 },
		"release too large":     func(u *metadata.Update) { u.Release = 1 << 53 },
		"released":              func(u *metadata.Update) { u.Released = time.Time{} },
		"released fraction":     func(u *metadata.Update) { u.Released = start().Add(1) },
		"released elsewhere":    func(u *metadata.Update) { u.Released = start().In(time.FixedZone("x", 3600)) },
		"piece length":          func(u *metadata.Update) { u.PieceLength = 3 },
		"piece length 2^40":     func(u *metadata.Update) { u.PieceLength = 1 << 40 },
		"uncompressed":          func(u *metadata.Update) { u.Uncompressed = -1 },
		"uncompressed missing":  func(u *metadata.Update) { u.Uncompressed = 0 },
		"supersedes itself":     func(u *metadata.Update) { u.Supersedes = []string{"app"} },
		"supersedes many":       func(u *metadata.Update) { u.Supersedes = many },
		"requires":              func(u *metadata.Update) { u.Requires[0].ID = "../x" },
		"requires many":         func(u *metadata.Update) { u.Requires = make([]metadata.Requirement, metadata.MaxList+1) },
		"applicability":         func(u *metadata.Update) { u.Applicability = long },
		"hardware":              func(u *metadata.Update) { u.Hardware = []string{"a\nb"} },
		"handler":               func(u *metadata.Update) { u.Handler = "File" },
		"argument":              func(u *metadata.Update) { u.Arguments = []string{long} },
		"argument with zero":    func(u *metadata.Update) { u.Arguments = []string{"a\x00b"} },
		"destination":           func(u *metadata.Update) { u.Destination = "opt/app" },
		"destination missing":   func(u *metadata.Update) { u.Destination = "" },
		"destination going up":  func(u *metadata.Update) { u.Destination = "/opt/../etc" },
		"destination unclean":   func(u *metadata.Update) { u.Destination = "/opt//app/" },
		"mode":                  func(u *metadata.Update) { u.Mode = "4755" },
		"mode decimal":          func(u *metadata.Update) { u.Mode = "999" },
		"owner":                 func(u *metadata.Update) { u.Owner = "root:" },
		"owner with options":    func(u *metadata.Update) { u.Owner = "-R" },
		"timeout":               func(u *metadata.Update) { u.Timeout = 1 << 40 },
		"health":                func(u *metadata.Update) { u.Health.Command = nil },
		"health relative":       func(u *metadata.Update) { u.Health.Command = []string{"check"} },
		"success":               func(u *metadata.Update) { u.Success = []int{256} },
		"reboot":                func(u *metadata.Update) { u.Reboot = []int{-1} },
		"success many":          func(u *metadata.Update) { u.Success = make([]int, metadata.MaxList+1) },
		"removal":               func(u *metadata.Update) { u.Removable.Arguments = many[:0:0]; u.Removable.Arguments = []string{"\x00"} },
		"downgrade":             func(u *metadata.Update) { u.LowestDowngrade = 8 },
		"signature missing":     func(u *metadata.Update) { u.Signature.Inline = "" },
		"signature twice":       func(u *metadata.Update) { u.Signature.URL = "http://x/y" },
		"signature long":        func(u *metadata.Update) { u.Signature.Inline = long },
		"signature URL":         func(u *metadata.Update) { u.Signature.Inline, u.Signature.URL = "", "ftp://x/y" },
		"scheme":                func(u *metadata.Update) { u.Signature.Scheme = "md5" },
		"key id":                func(u *metadata.Update) { u.Signature.KeyID = "e7620f1842b4e81f" },
		"origin":                func(u *metadata.Update) { u.Origins = []string{"file:///etc"} },
		"origin with password":  func(u *metadata.Update) { u.Origins = []string{"http://a:b@x/"} },
		"origin going up":       func(u *metadata.Update) { u.Origins = []string{"http://x/../y"} },
		"origin without host":   func(u *metadata.Update) { u.Origins = []string{"http:///y"} },
		"crit":                  func(u *metadata.Update) { u.Crit = []string{"teleport"} },
	} {
		u := full()
		change(u)
		if b, err := u.Custom(); !fault.Is(err, fault.Refused) {
			t.Errorf("%s: %s, %v", what, b, err)
		}
	}
}

func TestOtherRecordsAreSound(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func(a *metadata.Approval){
		"catalogue": func(a *metadata.Approval) { a.Catalogue = "app" }, "catalogue going up": func(a *metadata.Approval) { a.Catalogue = "../x" },
		"record": func(a *metadata.Approval) { a.Record = piecehash.Hash{} }, "action": func(a *metadata.Approval) { a.Action = "" },
		"share": func(a *metadata.Approval) { a.ShareBP = 10_001 }, "share negative": func(a *metadata.Approval) { a.ShareBP = -1 },
		"deadline": func(a *metadata.Approval) { a.Deadline = start().Add(1) },
	} {
		a := approval()
		change(a)
		if _, err := a.Custom(); !fault.Is(err, fault.Refused) {
			t.Errorf("approval, %s: %v", what, err)
		}
	}
	for what, change := range map[string]func(p *metadata.Publisher){
		"no key": func(p *metadata.Publisher) { p.Keys = nil }, "key of another id": func(p *metadata.Publisher) { p.Keys[0].ID = "0000000000000000" },
		"key cut": func(p *metadata.Publisher) { p.Keys[0].Key = keyLine[:40] }, "key scheme": func(p *metadata.Publisher) { p.Keys[0].Scheme = "pgp" },
		"handler": func(p *metadata.Publisher) { p.Handlers = []string{"*"} }, "destination": func(p *metadata.Publisher) { p.Destinations = []string{"opt"} },
		"plain HTTP": func(p *metadata.Publisher) { p.Catalogues = []string{"http://x"} }, "no pin": func(p *metadata.Publisher) { p.Pins = nil },
		"no CA": func(p *metadata.Publisher) { p.CA = "" }, "CA is text": func(p *metadata.Publisher) { p.CA = "hello" },
		"folder relative": func(p *metadata.Publisher) { p.Catalogues = []string{"file://srv/x"} }, "folder going up": func(p *metadata.Publisher) { p.Catalogues = []string{"file:///srv/../x"} },
		"pins many": func(p *metadata.Publisher) { p.Pins = make([]metadata.Pin, metadata.MaxList+1) },
	} {
		p := publisher(t)
		change(p)
		if _, err := p.Custom(); !fault.Is(err, fault.Refused) {
			t.Errorf("publisher, %s: %v", what, err)
		}
	}
	for what, change := range map[string]func(f *metadata.Fleet){
		"origin": func(f *metadata.Fleet) { f.Origins = []string{"ftp://x"} }, "group": func(f *metadata.Fleet) { f.Group = "" },
		"depot without pin": func(f *metadata.Fleet) { f.Depots = []string{"https://x"} }, "policy": func(f *metadata.Fleet) { f.Policy = json.RawMessage(`[1]`) },
		"policy with odd keys": func(f *metadata.Fleet) { f.Policy = json.RawMessage(`{"A":1}`) },
	} {
		f := fleet()
		change(f)
		if _, err := f.Custom(); !fault.Is(err, fault.Refused) {
			t.Errorf("fleet, %s: %v", what, err)
		}
	}
}

func TestHoldNeedsNoRecord(t *testing.T) {
	t.Parallel()
	a := &metadata.Approval{Catalogue: "app/1.0", Action: metadata.ActionHold}
	if _, err := a.Custom(); err != nil {
		t.Error(err)
	}
}

// TestEmptyListsAreFine: a record made in code with nil lists can be encoded.
func TestEmptyListsAreFine(t *testing.T) {
	t.Parallel()
	if _, err := (&metadata.Publisher{Name: "acme", Keys: []metadata.PayloadKey{payloadKey()}}).Custom(); err != nil {
		t.Error(err)
	}
	if _, err := (&metadata.Fleet{Group: "lan"}).Custom(); err != nil {
		t.Error(err)
	}
}
