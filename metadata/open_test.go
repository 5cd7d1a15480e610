package metadata_test

import (
	"encoding/json"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/metadatatest"
	"github.com/dunlin-project/dunlin/metadata/tuf/tuftest"
)

func start() time.Time { return time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC) }

// scene is an organisation with one publisher and one update, approved for the ring pilot.
type scene struct {
	t   *testing.T
	org *metadatatest.Org
	pub *metadatatest.Publisher
	app *metadata.Update
}

func payload() []byte { return []byte(strings.Repeat("what is in the file ", 4000)) }

func newScene(t *testing.T) *scene {
	t.Helper()
	org := metadatatest.NewOrg(t, start(), "pilot", "broad")
	pub := org.Trust("acme")
	app := pub.Release("app", "1.0", 1, payload())
	org.Approve("pilot", pub, app, nil)
	return &scene{t, org, pub, app}
}

// refusal returns the only refusal of the ring pilot, and makes sure that nothing is offered.
func (s *scene) refusal(want fault.Kind, text string) {
	s.t.Helper()
	v := s.org.View(start())
	if offers := v.Offers("pilot"); len(offers) != 0 {
		s.t.Errorf("offered: %v", offers[0].Target().Path)
	}
	r := v.Refusals("pilot")
	if len(r) != 1 {
		s.t.Fatalf("%d refusals: %v", len(r), r)
	}
	if fault.Of(r[0].Err) != want || !strings.Contains(r[0].Err.Error(), text) {
		s.t.Errorf("refused: %v: %v; want %v with %q", fault.Of(r[0].Err), r[0].Err, want, text)
	}
	if r[0].Key != (metadata.Key{Publisher: "acme", ID: "app"}) || r[0].Version == "" {
		s.t.Errorf("it is about %v %s", r[0].Key, r[0].Version)
	}
}

func TestOfferIsWhatBothAgreeOn(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	v := s.org.View(start())
	offers := v.Offers("pilot")
	if len(offers) != 1 || len(v.Refusals("pilot")) != 0 || v.Err() != nil {
		t.Fatalf("offers %v, refusals %v, err %v", offers, v.Refusals("pilot"), v.Err())
	}
	o := offers[0]
	if o.Key() != (metadata.Key{Publisher: "acme", ID: "app"}) || o.Ring() != "pilot" || o.Publisher().Name != "acme" {
		t.Errorf("key %v, ring %s, publisher %s", o.Key(), o.Ring(), o.Publisher().Name)
	}
	if o.Content().Root() != s.app.Root || o.Content().Length() != int64(len(payload())) || o.Target().Length != int64(len(payload())) {
		t.Errorf("content %v", o.Content())
	}
	if o.Update().Handler != metadata.HandlerFile || o.Approval().ShareBP != metadata.FullShare {
		t.Errorf("records %+v %+v", o.Update(), o.Approval())
	}
	if len(v.Offers("broad")) != 0 || len(v.Offers("none")) != 0 || !slices.Equal(v.Rings(), []string{"broad", "pilot"}) {
		t.Errorf("other rings: %v", v.Rings())
	}
	if v.Fleet().Group != "lan" || !v.Expires().Equal(start().Add(tuftest.Lifetime)) || !v.Now().Equal(start()) {
		t.Errorf("fleet %+v, expires %v, now %v", v.Fleet(), v.Expires(), v.Now())
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change func(s *scene)
		kind   fault.Kind
		text   string
	}{
		"absent from the catalogue":         {func(s *scene) { s.pub.Withdraw("app", "1.0") }, fault.Refused, "does not have it"},
		"another hash than the catalogue's": {func(s *scene) { s.pub.Add(s.app, append(payload()[:len(payload())-1:len(payload())-1], '!')) }, fault.Untrusted, "SHA-256"},
		"another length":                    {func(s *scene) { s.pub.Add(s.app, append(payload(), '!')) }, fault.Untrusted, "bytes"},
		"arguments changed since":           {func(s *scene) { s.app.Arguments = []string{"--evil"}; s.pub.Add(s.app, payload()) }, fault.Refused, "changed the record"},
		"crit of the update":                {func(s *scene) { s.changeCustom(`"crit":["teleport"],"teleport":1`) }, fault.Refused, "teleport"},
		"crit of the approval": {func(s *scene) {
			s.changeApproval(func(m map[string]any) { m["crit"] = []string{"audience"} })
		}, fault.Refused, "audience"},
		"malformed approval":     {func(s *scene) { s.changeApproval(func(m map[string]any) { m["action"] = "obliterate" }) }, fault.Refused, "obliterate"},
		"approval of other path": {func(s *scene) { s.changeApproval(func(m map[string]any) { m["catalogue"] = "app/2.0" }) }, fault.Refused, "app/2.0"},
		"handler not allowed":    {func(s *scene) { s.pub.Record.Handlers = []string{"tree"}; s.org.SetRecord(s.pub) }, fault.Refused, "handler file"},
		"no handler allowed":     {func(s *scene) { s.pub.Record.Handlers = nil; s.org.SetRecord(s.pub) }, fault.Refused, "handler file"},
		"health check without exec": {func(s *scene) {
			s.pub.Record.Handlers = []string{metadata.HandlerFile, metadata.HandlerTree}
			s.org.SetRecord(s.pub)
			s.app.Health = &metadata.HealthCheck{Command: []string{"/bin/sh", "-c", "id"}}
			s.pub.Add(s.app, payload())
			s.org.Approve("pilot", s.pub, s.app, nil)
		}, fault.Refused, "handler exec"},
		"destination": {func(s *scene) { s.pub.Record.Destinations = []string{"/op", "/srv"}; s.org.SetRecord(s.pub) }, fault.Refused, "/opt/app"},
		"a tree beside what is allowed": {func(s *scene) {
			s.pub.Record.Destinations = []string{"/opt/app"}
			s.org.SetRecord(s.pub)
			s.app.Handler, s.app.Uncompressed = metadata.HandlerTree, 1
			s.pub.Add(s.app, payload())
			s.org.Approve("pilot", s.pub, s.app, nil)
		}, fault.Refused, "/opt/app.versions"},
		"payload key": {func(s *scene) {
			other := s.org.Trust("other")
			s.pub.Record.Keys = other.Record.Keys
			s.org.SetRecord(s.pub)
		}, fault.Refused, "signed with key"},
		"publisher not trusted": {func(s *scene) {
			delete(s.org.Approvals.Roles["targets"].Signed.Targets, "publisher/acme")
			s.org.Approvals.Publish("targets")
		}, fault.Refused, "does not trust publisher acme"},
		"crit of the publisher":   {func(s *scene) { s.changePublisher(func(m map[string]any) { m["crit"] = []string{"quorum"} }) }, fault.Refused, "quorum"},
		"publisher by other name": {func(s *scene) { s.changePublisher(func(m map[string]any) { m["publisher"] = "zorg" }) }, fault.Refused, "zorg"},
		"catalogue missing":       {func(s *scene) { s.pub.Catalogue.Files = nil }, fault.Unavailable, "not there"},
		"catalogue tampered":      {func(s *scene) { flip(s.pub.Catalogue, "targets") }, fault.Untrusted, "targets"},
		"catalogue expired": {func(s *scene) {
			s.pub.Catalogue.Timestamp.Signed.Expires = start().Add(-time.Hour)
			s.pub.Catalogue.Now = start().Add(-2 * time.Hour)
			s.pub.Catalogue.PublishTimestamp()
		}, fault.Unavailable, "ran out"},
		"record of another publisher": {func(s *scene) { s.app.Publisher = "zorg"; s.pub.Add(s.app, payload()) }, fault.Refused, "zorg"},
		"sha512 beside": {func(s *scene) {
			s.pub.Catalogue.Roles["targets"].Signed.Targets["app/1.0"].Hashes["sha512"] = make([]byte, 64)
			s.pub.Catalogue.Publish("targets")
		}, fault.Refused, "other hashes"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			c.change(s)
			s.refusal(c.kind, c.text)
		})
	}
}

// flip flips a bit of the current file of a role.
func flip(r *tuftest.Repo, role string) {
	b := slices.Clone(r.Files[r.Name(role)])
	b[len(b)/2] ^= 4
	r.Files[r.Name(role)] = b
}

// changeCustom adds fields to the update's record, which is signed anew.
func (s *scene) changeCustom(fields string) {
	f := s.pub.Catalogue.Roles["targets"].Signed.Targets["app/1.0"]
	custom := json.RawMessage(strings.Replace(string(*f.Custom), `{"v1":{`, `{"v1":{`+fields+`,`, 1))
	f.Custom = &custom
	s.pub.Catalogue.Publish("targets")
}

func (s *scene) changeApproval(change func(v1 map[string]any)) {
	s.t.Helper()
	changeTarget(s.t, s.org.Approvals, "ring-pilot", "pilot/acme/app/1.0", change)
}

func (s *scene) changePublisher(change func(v1 map[string]any)) {
	s.t.Helper()
	changeTarget(s.t, s.org.Approvals, "targets", "publisher/acme", change)
}

func changeTarget(t *testing.T, r *tuftest.Repo, role, path string, change func(v1 map[string]any)) {
	t.Helper()
	f := r.Roles[role].Signed.Targets[path]
	var custom map[string]map[string]any
	if err := json.Unmarshal(*f.Custom, &custom); err != nil {
		t.Fatal(err)
	}
	change(custom["v1"])
	b, err := json.Marshal(custom)
	if err != nil {
		t.Fatal(err)
	}
	f.Custom = (*json.RawMessage)(&b)
	r.Publish(role)
}

// TestOneBadCatalogueTakesNothingElseAway: a publisher can spoil its own updates only.
func TestOneBadCatalogueTakesNothingElseAway(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	other := s.org.Trust("other")
	s.org.Approve("pilot", other, other.Release("tool", "2", 2, payload()), nil)
	flip(s.pub.Catalogue, "snapshot")
	v := s.org.View(start())
	if o := v.Offers("pilot"); len(o) != 1 || o[0].Key().Publisher != "other" {
		t.Errorf("offers %v", o)
	}
	if !fault.Is(v.Err(), fault.Untrusted) || !strings.Contains(v.Err().Error(), "acme") {
		t.Errorf("err %v", v.Err())
	}
	if c, ok := v.Catalogue("acme"); !ok || c.Err() == nil || len(c.Targets()) != 0 {
		t.Errorf("catalogue %+v", c)
	}
}

func TestHoldNeedsNobodyButTheOrganisation(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(s *scene){
		"current": func(*scene) {},
		"expired": func(s *scene) {
			s.pub.Catalogue.Timestamp.Signed.Expires = start().Add(time.Hour)
			s.pub.Catalogue.PublishTimestamp()
		},
		"withdrawn": func(s *scene) { s.pub.Withdraw("app", "1.0") },
		"missing":   func(s *scene) { s.pub.Catalogue.Files = nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.org.Approve("pilot", s.pub, s.app, func(a *metadata.Approval) { a.Action = metadata.ActionHold })
			change(s)
			v := s.org.View(start().Add(2 * time.Hour))
			holds := v.Holds("pilot")
			if len(holds) != 1 || len(v.Offers("pilot")) != 0 || holds[0].Key.ID != "app" || holds[0].Version != "1.0" {
				t.Fatalf("holds %v, refusals %v", holds, v.Refusals("pilot"))
			}
			if there := name == "current" || name == "expired"; (holds[0].Target != nil) != there {
				t.Errorf("target %v", holds[0].Target)
			}
		})
	}
}

func TestRemoval(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		removable bool
		change    func(s *scene)
		removed   bool
		kind      fault.Kind
	}{
		"removable":      {true, func(*scene) {}, true, 0},
		"not removable":  {false, func(*scene) {}, false, fault.Refused},
		"withdrawn":      {false, func(s *scene) { s.pub.Withdraw("app", "1.0") }, true, 0}, // the kept record decides
		"other contents": {true, func(s *scene) { s.pub.Add(s.app, []byte("x")) }, false, fault.Untrusted},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			if c.removable {
				s.app.Removable = &metadata.Removal{Arguments: []string{"--purge"}}
				s.pub.Add(s.app, payload())
			}
			s.org.Approve("pilot", s.pub, s.app, func(a *metadata.Approval) { a.Action = metadata.ActionRemove })
			c.change(s)
			v := s.org.View(start())
			if got := len(v.Removals("pilot")) == 1; got != c.removed {
				t.Errorf("removals %v, refusals %v", v.Removals("pilot"), v.Refusals("pilot"))
			}
			if r := v.Refusals("pilot"); c.kind != 0 && (len(r) != 1 || fault.Of(r[0].Err) != c.kind) {
				t.Errorf("refusals %v", r)
			}
		})
	}
}

// TestARingSpeaksForItselfOnly: the online key of one ring can approve nothing for another, and trust nobody.
func TestARingSpeaksForItselfOnly(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	r := s.org.Approvals
	ring := r.Roles["ring-pilot"].Signed.Targets
	ring["broad/acme/app/1.0"] = ring["pilot/acme/app/1.0"]
	ring["publisher/evil"] = r.Roles["targets"].Signed.Targets["publisher/acme"]
	ring["fleet"] = r.Roles["targets"].Signed.Targets["fleet"]
	r.Publish("ring-pilot")
	v := s.org.View(start())
	if len(v.Offers("broad"))+len(v.Refusals("broad")) != 0 || len(v.Catalogues()) != 1 || len(v.Offers("pilot")) != 1 {
		t.Errorf("broad: %v, catalogues %v", v.Offers("broad"), v.Catalogues())
	}
	// Even where the offline key delegated too much, a role is bound to the ring it is named for.
	r.Roles["targets"].Signed.Delegations.Roles[0].Paths = []string{"*/*/*/*", "publisher/*", "fleet"}
	r.Publish("targets")
	v = s.org.View(start())
	if len(v.Offers("broad"))+len(v.Refusals("broad")) != 0 || len(v.Catalogues()) != 1 {
		t.Errorf("broad: %v, catalogues %v", v.Offers("broad"), v.Catalogues())
	}
}

func TestApprovalsThatDoNotHold(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change func(s *scene)
		now    time.Time
		kind   fault.Kind
	}{
		"expired":            {func(*scene) {}, start().Add(tuftest.Lifetime + time.Second), fault.Unavailable},
		"tampered":           {func(s *scene) { flip(s.org.Approvals, "ring-pilot") }, start(), fault.Untrusted},
		"tampered timestamp": {func(s *scene) { flip(s.org.Approvals, "timestamp") }, start(), fault.Untrusted},
		"no timestamp":       {func(s *scene) { delete(s.org.Approvals.Files, "metadata/timestamp.json") }, start(), fault.Unavailable},
		"another root": {func(s *scene) {
			s.pub.Catalogue.Files["x"] = nil
			s.org.Approvals.Files["metadata/1.root.json"] = s.pub.Root
		}, start(), fault.Untrusted},
		"publisher root gone": {func(s *scene) { deleteTargets(s.org.Approvals) }, start(), fault.Unavailable},
		"publisher root changed": {func(s *scene) {
			for name := range s.org.Approvals.Files {
				if strings.HasPrefix(name, "targets/") {
					s.org.Approvals.Files[name] = []byte("x")
				}
			}
		}, start(), fault.Untrusted},
		"no fleet": {func(s *scene) {
			delete(s.org.Approvals.Roles["targets"].Signed.Targets, "fleet")
			s.org.Approvals.Publish("targets")
		}, start(), fault.Refused},
		"crit of the fleet": {func(s *scene) {
			changeTarget(s.t, s.org.Approvals, "targets", "fleet", func(m map[string]any) { m["crit"] = []string{"quorum"} })
		}, start(), fault.Refused},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			c.change(s)
			v, err := metadata.Open(s.org.Anchor(), s.org.Bundle(), c.now)
			if v != nil || fault.Of(err) != c.kind {
				t.Errorf("view %v, %v: %v; want %v", v, fault.Of(err), err, c.kind)
			}
		})
	}
}

func deleteTargets(r *tuftest.Repo) {
	maps.DeleteFunc(r.Files, func(name string, _ []byte) bool { return strings.HasPrefix(name, "targets/") })
}

// TestRoleFileGone: a bundle without a ring's file is that of a device in another ring.
func TestRoleFileGone(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	b := s.org.Bundle()
	maps.DeleteFunc(b.Approvals, func(name string, _ []byte) bool { return strings.HasSuffix(name, ".ring-pilot.json") })
	v, err := metadata.Open(s.org.Anchor(), b, start())
	if err != nil || len(v.Offers("pilot")) != 0 || !slices.Equal(v.Rings(), []string{"broad"}) {
		t.Errorf("rings %v, err %v", v.Rings(), err)
	}
}

func TestClockBehind(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	v := s.org.View(start().AddDate(-5, 0, 0))
	if !v.Now().Equal(start()) || v.ClockBehind() < 4*365*24*time.Hour || len(v.Offers("pilot")) != 1 {
		t.Errorf("now %v, behind %v", v.Now(), v.ClockBehind())
	}
}

func TestBundleOnDisk(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	raw, err := s.org.Bundle().Encode()
	if err != nil {
		t.Fatal(err)
	}
	b, err := metadata.ParseBundle(raw)
	if err != nil {
		t.Fatal(err)
	}
	v, err := metadata.Open(s.org.Anchor(), b, start())
	if err != nil || len(v.Offers("pilot")) != 1 {
		t.Errorf("offers %v, err %v", v, err)
	}
	for name, text := range map[string]string{
		"empty": "", "null": "null", "cut": string(raw[:len(raw)-9]), "format": `{"format":"x","approvals":{},"catalogues":{}}`,
		"path":      `{"format":"dunlin-bundle/1","approvals":{"../x":""},"catalogues":{}}`,
		"path in":   `{"format":"dunlin-bundle/1","approvals":{"metadata/../../x":""},"catalogues":{}}`,
		"publisher": `{"format":"dunlin-bundle/1","approvals":{},"catalogues":{"../x":{}}}`,
		"twice":     `{"format":"dunlin-bundle/1","format":"dunlin-bundle/1","approvals":{},"catalogues":{}}`,
	} {
		if _, err := metadata.ParseBundle([]byte(text)); !fault.Is(err, fault.Untrusted) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPayloadSignatureIsMinisigns holds the test kit itself to the stock tool.
func TestPayloadSignatureIsMinisigns(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("minisign"); err != nil {
		t.Skip("minisign is not installed")
	}
	s := newScene(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "payload")
	write(t, file, payload())
	write(t, file+".minisig", []byte(s.app.Signature.Inline))
	out, err := exec.CommandContext(t.Context(), "minisign", "-V", "-P", s.pub.PayloadKey().Key, "-m", file).CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
