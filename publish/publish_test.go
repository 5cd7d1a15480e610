package publish_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/publish"
)

const day = 24 * time.Hour

var start = time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)

func TestAddStagesAndReleasePublishes(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	before := tree(t, d.path("public", "metadata"))
	a := d.add(t, "hello", "1.0")
	if !slices.Equal(before, tree(t, d.path("public", "metadata"))) {
		t.Error("add changed what is published")
	}
	if l := d.list(t); len(l.Updates) != 1 || l.Updates[0].State != publish.StateStaged {
		t.Errorf("%+v", l.Updates)
	}
	r := d.release(t)
	if !slices.Equal(r.Added, []string{"editor/1.0"}) || !slices.Equal(r.Signed, []string{"targets", "snapshot", "timestamp"}) {
		t.Errorf("%+v", r)
	}
	if l := d.list(t); len(l.Updates) != 1 || l.Updates[0].State != publish.StatePublished || l.Updates[0].Root != a.Root {
		t.Errorf("%+v", l.Updates)
	}
	if r := d.release(t); len(r.Signed) != 0 {
		t.Errorf("a second release signed %v", r.Signed)
	}
	content, err := os.ReadFile(d.path("public", "content", a.Root.String()))
	if err != nil || string(content) != "hello" || a.SHA256 != sha256.Sum256([]byte("hello")) || a.Length != 5 {
		t.Errorf("content %q %v", content, err)
	}
	for _, name := range []string{a.Root.String(), a.Root.String() + ".minisig"} {
		if info, err := os.Stat(d.path("public", "content", name)); err != nil || info.Mode().Perm() != 0o644 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestThePassphraseIsAskedOnlyWhereItIsNeeded(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	count := func(name string, want bool, do func() error) {
		t.Helper()
		d.asked = 0
		if err := do(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := d.asked > 0; got != want {
			t.Errorf("%s: asked %d times", name, d.asked)
		}
	}
	count("add", true, func() error { d.add(t, "hello", "1.0"); return nil })
	count("list", false, func() error { _, err := d.List(start); return err })
	count("release", true, func() error { _, err := d.Release(t.Context(), start, false); return err })
	count("release of nothing", false, func() error { _, err := d.Release(t.Context(), start, false); return err })
	count("refresh", false, func() error { _, err := d.Refresh(t.Context(), start, true); return err })
	count("withdraw", false, func() error { return d.Withdraw(t.Context(), "editor", "1.0") })
	count("sweep", false, func() error { _, err := d.Sweep(t.Context()); return err })
	count("cert", true, func() error { _, err := d.Cert(t.Context(), []string{"h"}, 7*day, start); return err })
}

func TestRefreshWorksWithTheOfflineKeysGone(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	stick := filepath.Join(t.TempDir(), "stick")
	if err := os.Rename(d.path("keys", "offline"), stick); err != nil {
		t.Fatal(err)
	}
	r, err := d.Refresh(t.Context(), start.Add(16*day), false)
	if err != nil || !slices.Equal(r.Signed, []string{"timestamp"}) {
		t.Errorf("%v %v", r.Signed, err)
	}
	_, err = d.Add(t.Context(), publish.AddRequest{File: payload(t, "x"), Update: editor("1")}, start)
	if !fault.Is(err, fault.Usage) || !strings.Contains(fault.Hint(err), "--offline-keys") {
		t.Errorf("add: %v", err)
	}
	c := d.config
	c.OfflineKeys = stick
	away, err := publish.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := away.Add(t.Context(), publish.AddRequest{File: payload(t, "x"), Update: editor("1")}, start); err != nil {
		t.Error(err)
	}
	if _, err := away.Release(t.Context(), start.Add(16*day), false); err != nil {
		t.Error(err)
	}
}

func TestWrongPassphrase(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	before := tree(t, d.config.Dir)
	c := d.config
	c.Unlock = func() ([]byte, error) { return []byte("wrong wrong wrong"), nil }
	p, err := publish.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Add(t.Context(), publish.AddRequest{File: payload(t, "x"), Update: editor("1")}, start)
	if !fault.Is(err, fault.Usage) || !strings.Contains(err.Error(), "wrong passphrase") {
		t.Errorf("add: %v", err)
	}
	if _, err := p.Release(t.Context(), start, true); !fault.Is(err, fault.Usage) {
		t.Errorf("release: %v", err)
	}
	if after := tree(t, d.config.Dir); !slices.Equal(before, after) {
		t.Error("something changed")
	}
}

func TestRefreshSaysWhenAnOfflineSignatureRanOut(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	r, err := d.Refresh(t.Context(), start.Add(91*day), false)
	if !fault.Is(err, fault.Refused) || !strings.Contains(fault.Hint(err), "publish release") || len(r.Signed) == 0 {
		t.Errorf("%v %v", r.Signed, err)
	}
	if _, err := d.Release(t.Context(), start.Add(91*day), false); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Refresh(t.Context(), start.Add(92*day), false); err != nil {
		t.Error(err)
	}
	if _, err := d.Refresh(t.Context(), start.Add(366*day), false); !strings.Contains(fault.Hint(err), "publish rotate") {
		t.Errorf("root: %v", err)
	}
}

func TestReleaseCounters(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	if got := d.add(t, "one", "1.0").Release; got != 1 {
		t.Errorf("first release %d", got)
	}
	if got := d.add(t, "one again", "1.0").Release; got != 1 {
		t.Errorf("the same version staged again got %d", got)
	}
	d.release(t)
	if got := d.add(t, "two", "2.0").Release; got != 2 {
		t.Errorf("second release %d", got)
	}
	u := editor("3.0")
	for _, taken := range []int64{1, 2} {
		u.Release = taken
		if _, err := d.Add(t.Context(), publish.AddRequest{File: payload(t, "x"), Update: u}, start); !fault.Is(err, fault.Refused) || fault.Hint(err) == "" {
			t.Errorf("release %d a second time: %v", taken, err)
		}
	}
	u.Release = 40
	if a, err := d.Add(t.Context(), publish.AddRequest{File: payload(t, "x"), Update: u}, start); err != nil || a.Release != 40 {
		t.Errorf("%+v %v", a, err)
	}
	if got := d.add(t, "y", "4.0").Release; got != 41 {
		t.Errorf("then %d", got)
	}
	other := editor("1.0")
	other.ID = "viewer"
	if a, err := d.Add(t.Context(), publish.AddRequest{File: payload(t, "x"), Update: other}, start); err != nil || a.Release != 1 {
		t.Errorf("another id: %+v %v", a, err)
	}
}

func TestWhatIsPublishedStands(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	d.add(t, "one", "1.0")
	d.release(t)
	_, err := d.Add(t.Context(), publish.AddRequest{File: payload(t, "other"), Update: editor("1.0")}, start)
	if !fault.Is(err, fault.Refused) || fault.Hint(err) == "" {
		t.Errorf("got %v", err)
	}
}

func TestRequirementsAreBoundToHashes(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	base := d.add(t, "base", "1.0")
	u := editor("2.0")
	add := func(requires ...string) error {
		_, err := d.Add(t.Context(), publish.AddRequest{File: payload(t, "next"), Update: u, Requires: requires}, start)
		return err
	}
	if err := add("editor@9"); !fault.Is(err, fault.Refused) {
		t.Errorf("unknown: %v", err)
	}
	if err := add("editor"); !fault.Is(err, fault.Usage) {
		t.Errorf("no version: %v", err)
	}
	if err := add("editor@1.0"); err != nil {
		t.Fatal(err)
	}
	d.release(t)
	got := d.target(t, "editor/2.0").Update.Requires
	if len(got) != 1 || got[0].SHA256 != base.SHA256 || got[0].ID != "editor" || got[0].Version != "1.0" {
		t.Errorf("%+v", got)
	}
}

func TestTheRecordSaysWhatTheDeviceNeeds(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	u := editor("1.0")
	u.Title, u.Severity = "Editor, with a comma", metadata.SeverityImportant
	u.Applicability = `os == "linux" && arch == "amd64"`
	u.Mode, u.Owner, u.Timeout = "0755", "root:root", 90
	u.Origins = []string{"http://cdn.acme.example"}
	u.Crit = []string{"mode"}
	u.PieceLength = piecehash.MinPieceLength
	content := strings.Repeat("0123456789abcdef", 4096) // four pieces
	if _, err := d.Add(t.Context(), publish.AddRequest{File: payload(t, content), Update: u}, start); err != nil {
		t.Fatal(err)
	}
	d.release(t)
	got := d.target(t, "editor/1.0")
	g := got.Update
	if g.Publisher != "acme" || g.Release != 1 || !g.Released.Equal(start) || g.Title != u.Title || g.Applicability != u.Applicability ||
		g.Mode != "0755" || g.Timeout != 90 || g.PieceLength != piecehash.MinPieceLength || g.Signature.KeyID == "" {
		t.Errorf("%+v", g)
	}
	c, err := got.Content()
	if err != nil {
		t.Fatal(err)
	}
	layer, err := os.ReadFile(d.path("public", "layer", g.Root.String()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Prove(layer); err != nil {
		t.Errorf("the piece layer does not prove itself: %v", err)
	}
}

func TestBadRecordsAreRefusedBeforeThePayloadIsRead(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	d.asked = 0
	for name, spoil := range map[string]func(*metadata.Update){
		"id":         func(u *metadata.Update) { u.ID = "../x" },
		"no version": func(u *metadata.Update) { u.Version = "" },
		"kind":       func(u *metadata.Update) { u.Kind = "game" },
		"severity":   func(u *metadata.Update) { u.Severity = "huge" },
		"handler":    func(u *metadata.Update) { u.Handler = "" },
		"relative":   func(u *metadata.Update) { u.Destination = "opt/editor" },
		"upwards":    func(u *metadata.Update) { u.Destination = "/opt/../etc" },
		"mode":       func(u *metadata.Update) { u.Mode = "4755" },
		"timeout":    func(u *metadata.Update) { u.Timeout = -1 },
		"piece":      func(u *metadata.Update) { u.PieceLength = 12345 },
		"crit":       func(u *metadata.Update) { u.Crit = []string{"from-the-future"} },
		"title":      func(u *metadata.Update) { u.Title = "two\nlines" },
		"origin":     func(u *metadata.Update) { u.Origins = []string{"file:///etc"} },
		"release":    func(u *metadata.Update) { u.Release = -1 },
		"downgrade":  func(u *metadata.Update) { u.LowestDowngrade = 7 },
		"health":     func(u *metadata.Update) { u.Health = &metadata.HealthCheck{Command: []string{"true"}} },
	} {
		u := editor("1.0")
		spoil(&u)
		_, err := d.Add(t.Context(), publish.AddRequest{File: "/does/not/exist", Update: u}, start)
		if !fault.Is(err, fault.Refused) && !fault.Is(err, fault.Usage) || strings.Contains(err.Error(), "/does/not/exist") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if d.asked != 0 {
		t.Error("asked for a passphrase in vain")
	}
}

func TestBadPayloads(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	tree, program := editor("1.0"), editor("1.0")
	tree.Handler, program.Handler = metadata.HandlerTree, metadata.HandlerExec
	for name, tc := range map[string]struct {
		file string
		u    metadata.Update
		kind fault.Kind
	}{
		"missing":      {filepath.Join(t.TempDir(), "x"), editor("1.0"), fault.Usage},
		"a folder":     {t.TempDir(), editor("1.0"), fault.Usage},
		"empty":        {payload(t, ""), editor("1.0"), fault.Usage},
		"a device":     {"/dev/zero", editor("1.0"), fault.Usage},
		"no archive":   {payload(t, "hello"), tree, fault.Refused},
		"no program":   {payload(t, "hello"), program, fault.Refused},
		"tiny program": {payload(t, "#"), program, fault.Refused},
	} {
		if _, err := d.Add(t.Context(), publish.AddRequest{File: tc.file, Update: tc.u}, start); !fault.Is(err, tc.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left, err := os.ReadDir(d.path("public", "content")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestScriptsAreProgramsForExec(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	u := metadata.Update{ID: "fix", Version: "1", Kind: metadata.KindOS, Handler: metadata.HandlerExec, Arguments: []string{"--all", "a,b"}}
	if _, err := d.Add(t.Context(), publish.AddRequest{File: payload(t, "#!/bin/sh\nexit 0\n"), Update: u}, start); err != nil {
		t.Fatal(err)
	}
	d.release(t)
	if got := d.target(t, "fix/1").Update.Arguments; !slices.Equal(got, u.Arguments) {
		t.Errorf("%q", got)
	}
}

func TestWithdrawAndSweep(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	one := d.add(t, "one", "1.0")
	d.add(t, "two", "2.0")
	d.release(t)
	staged := d.add(t, "three", "3.0")
	if err := d.Withdraw(t.Context(), "editor", "3.0"); err != nil { // only staged: forgotten at once
		t.Fatal(err)
	}
	if err := d.Withdraw(t.Context(), "editor", "1.0"); err != nil {
		t.Fatal(err)
	}
	if err := d.Withdraw(t.Context(), "editor", "1.0"); !fault.Is(err, fault.Usage) {
		t.Errorf("a second time: %v", err)
	}
	if l := d.list(t); len(l.Updates) != 2 || l.Updates[0].State != publish.StateWithdrawal {
		t.Errorf("%+v", l.Updates)
	}
	if gone, err := d.Sweep(t.Context()); err != nil || !slices.Contains(gone, staged.Content) || slices.Contains(gone, one.Content) {
		t.Errorf("swept %v %v", gone, err)
	}
	if r := d.release(t); !slices.Equal(r.Withdrawn, []string{"editor/1.0"}) {
		t.Errorf("%+v", r)
	}
	if l := d.list(t); len(l.Updates) != 1 || l.Updates[0].Version != "2.0" {
		t.Errorf("%+v", l.Updates)
	}
	if gone, err := d.Sweep(t.Context()); err != nil || !slices.Contains(gone, one.Content) || !slices.Contains(gone, one.Content+".minisig") {
		t.Errorf("swept %v %v", gone, err)
	}
	// What was withdrawn by mistake may come back under its version, but not under its release counter.
	if a := d.add(t, "one", "1.0"); a.Release != 3 {
		t.Errorf("it came back as release %d", a.Release)
	}
}

// A device that has a withdrawn release takes the next one, so its number is never given again.
func TestReleaseCountersAreNeverGivenAgain(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	d.add(t, "one", "1.0")
	d.release(t)
	if err := d.Withdraw(t.Context(), "editor", "1.0"); err != nil {
		t.Fatal(err)
	}
	if a := d.add(t, "x", "1.1"); a.Release != 2 { // the withdrawal is only staged
		t.Errorf("release %d, want 2", a.Release)
	}
	d.release(t)
	u := editor("1.2")
	u.Release = 1
	if _, err := d.Add(t.Context(), publish.AddRequest{File: payload(t, "x"), Update: u}, start); !fault.Is(err, fault.Refused) {
		t.Errorf("the number of a withdrawn one: %v", err)
	}
	if a := d.add(t, "x", "1.2"); a.Release != 3 {
		t.Errorf("release %d, want 3", a.Release)
	}
}

func TestReleaseNeedsThePayload(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	a := d.add(t, "one", "1.0")
	if err := os.Truncate(a.Content, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Release(t.Context(), start, false); !fault.Is(err, fault.Refused) || fault.Hint(err) == "" {
		t.Errorf("got %v", err)
	}
	d.add(t, "one", "1.0")
	d.release(t)
}

func TestCancelledAddLeavesNothing(t *testing.T) {
	t.Parallel()
	d := newDesk(t, publish.InitRequest{})
	before := tree(t, d.config.Dir)
	for _, at := range []publish.Phase{publish.PhaseCopy, publish.PhaseHash} {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := d.Add(ctx, publish.AddRequest{
			File: payload(t, strings.Repeat("x", 8<<20)), Update: editor("1.0"),
			Progress: func(phase publish.Phase, _, _ int64) {
				if phase == at {
					cancel()
				}
			},
		}, start)
		cancel()
		if !errors.Is(err, context.Canceled) && at == publish.PhaseCopy {
			t.Errorf("%s: %v", at, err)
		}
		if err != nil && !slices.Equal(before, tree(t, d.config.Dir)) {
			t.Errorf("%s: something is left behind", at)
		}
	}
}

func TestOpenOfSomethingElse(t *testing.T) {
	t.Parallel()
	if _, err := publish.Open(publish.Config{Dir: t.TempDir()}); !fault.Is(err, fault.Usage) || !strings.Contains(fault.Hint(err), "publish init") {
		t.Errorf("got %v", err)
	}
	if _, err := publish.Open(publish.Config{Dir: "x", WorkFactor: 3}); !fault.Is(err, fault.Usage) {
		t.Errorf("got %v", err)
	}
}

func TestDamagedStateIsRefused(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"publisher.json", "catalogue.json", "staged.json"} {
		d := newDesk(t, publish.InitRequest{})
		d.add(t, "one", "1.0")
		for _, bad := range []string{"", "{}", "null", `{"format":"x"}`, `{"unknown":1}`, "{}{}"} {
			if err := os.WriteFile(d.path("state", name), []byte(bad), 0o600); err != nil {
				t.Fatal(err)
			}
			p, err := publish.Open(d.config)
			if err == nil {
				_, err = p.Release(t.Context(), start, false)
			}
			if err == nil {
				t.Errorf("%s: %q was taken", name, bad)
			}
		}
	}
}
