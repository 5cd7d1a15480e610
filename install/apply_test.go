package install_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/install"
	"github.com/dunlin-project/dunlin/install/installtest"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

func TestInventory(t *testing.T) {
	t.Parallel()
	b := bench(t)
	if items, err := b.Installer.Installed(t.Context()); err != nil || len(items) != 0 {
		t.Errorf("before: %v, %v", items, err)
	}
	u := release(b, "1.0", 4, func(u *metadata.Update) { u.Removable = &metadata.Removal{} })
	b.MustInstall(u, payload("1.0"))
	i := b.Item()
	if !i.Present || i.Err != nil {
		t.Errorf("present %v, %v", i.Present, i.Err)
	}
	if i.Release != 4 || i.Handler != "file" || i.Destination != destination(b) || i.Root != u.Root || i.Ring != installtest.Ring ||
		i.Length != int64(len(payload("1.0"))) || i.Signer != u.Signature.KeyID || !i.Installed.Equal(b.Now) {
		t.Errorf("got %+v", i.Record)
	}
	// What was decided on can be looked at again when the publisher has taken it away.
	b.Org.Trust("somebody")
	b.Publisher.Withdraw("app", "1.0")
	bundle, err := b.Installer.Bundle(&i.Record)
	must(t, err)
	view, err := metadata.Open(b.Org.Anchor(), bundle, i.Installed)
	must(t, err)
	offers := view.Offers(installtest.Ring)
	if len(offers) != 1 || offers[0].Update().Removable == nil || offers[0].Target().SHA256 != i.SHA256 {
		t.Errorf("kept: %+v", offers)
	}
}

func TestInventoryOfADeviceWithLessHandlers(t *testing.T) {
	t.Parallel()
	b := bench(t)
	b.MustInstall(release(b, "1.0", 1, nil), payload("1.0"))
	b.Config.Handlers = nil
	b.Restart()
	if i := b.Item(); i.Version != "1.0" || i.Present || i.Err == nil {
		t.Errorf("got %+v", i)
	}
}

func TestADamagedRecordIsInstalledAgain(t *testing.T) {
	t.Parallel()
	b := bench(t)
	u := release(b, "1.0", 1, nil)
	b.MustInstall(u, payload("1.0"))
	record := filepath.Join(b.Config.Dir, "installed", "acme", "app.json")
	must(t, os.WriteFile(record, []byte("{}"), 0o600))
	if i := b.Item(); i.Version != "" {
		t.Errorf("got %+v", i)
	}
	b.MustInstall(u, payload("1.0"))
	if i := b.Item(); i.Version != "1.0" || !i.Present {
		t.Errorf("got %+v", i)
	}
	// A record that was put under another name is no record of that.
	must(t, os.Rename(record, filepath.Join(filepath.Dir(record), "other.json")))
	if items, err := b.Installer.Installed(t.Context()); err != nil || len(items) != 0 {
		t.Errorf("%v, %v", items, err)
	}
}

func TestADamagedBundle(t *testing.T) {
	t.Parallel()
	b := bench(t)
	b.MustInstall(release(b, "1.0", 1, nil), payload("1.0"))
	file := filepath.Join(b.Config.Dir, "installed", "acme", "app.bundle")
	must(t, os.Truncate(file, 100))
	i := b.Item()
	if _, err := b.Installer.Bundle(&i.Record); err == nil || i.Version != "1.0" {
		t.Errorf("%+v, %v", i, err)
	}
	must(t, os.Remove(file))
	if _, err := b.Installer.Bundle(&i.Record); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestTheFloorIsLookedAtAgain: between check and installation another process may have gone further.
func TestTheFloorIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	b := bench(t)
	old, err := b.Verify(release(b, "1.0", 1, nil), payload("1.0"))
	must(t, err)
	defer old.Close()
	b.MustInstall(release(b, "2.0", 2, nil), payload("2.0"))
	if _, err := b.Installer.Apply(t.Context(), old); !fault.Is(err, fault.Refused) {
		t.Errorf("%v: %v", fault.Of(err), err)
	}
	if seen(t, b) != "2.0" {
		t.Errorf("%s is there", seen(t, b))
	}
}

func TestAnotherInstallersWordIsNotEnough(t *testing.T) {
	t.Parallel()
	b := bench(t)
	v, err := b.Verify(release(b, "1.0", 1, nil), payload("1.0"))
	must(t, err)
	defer v.Close()
	b.Restart()
	if _, err := b.Installer.Apply(t.Context(), v); err == nil || seen(t, b) != "" {
		t.Errorf("%v, %q", err, seen(t, b))
	}
}

// TestTwoInstallersAtOnce install the same and different things on one folder.
func TestTwoInstallersAtOnce(t *testing.T) {
	t.Parallel()
	b := bench(t)
	var updates []*metadata.Update
	for _, id := range []string{"a", "b", "c"} {
		u := b.Publisher.Update(id, "1", 1, payload(id))
		u.Destination = filepath.Join(b.Root, id)
		b.Publisher.Add(u, payload(id))
		b.Org.Approve(installtest.Ring, b.Publisher, u, nil)
		updates = append(updates, u)
	}
	bundle := b.Org.Bundle()
	var wg sync.WaitGroup
	for n := range 6 {
		i, err := install.New(b.Config)
		must(t, err)
		u := updates[n%3]
		f := b.File(payload(u.ID))
		wg.Go(func() {
			v, err := i.Verify(t.Context(), install.Request{
				Payload: f, Bundle: bundle, Update: metadata.Key{Publisher: "acme", ID: u.ID}, Version: "1", Now: b.Now,
			})
			if err == nil {
				_, err = i.Apply(t.Context(), v)
				v.Close()
			}
			if err != nil {
				t.Errorf("%s: %v", u.ID, err)
			}
		})
	}
	wg.Wait()
	items, err := b.Installer.Installed(t.Context())
	if err != nil || len(items) != 3 || !items[0].Present || !items[1].Present || !items[2].Present {
		t.Errorf("%+v, %v", items, err)
	}
}

// odd is a handler that does as it is told.
type odd struct {
	apply func(context.Context, *install.Verified, *install.Transaction) (install.Outcome, error)
}

func (o odd) Apply(ctx context.Context, v *install.Verified, t *install.Transaction) (install.Outcome, error) {
	return o.apply(ctx, v, t)
}

func (odd) Installed(context.Context, *install.Record) (bool, error) { return true, nil }

// TestErrorsOfHandlers gives each its kind, and nothing but the kind decides.
func TestErrorsOfHandlers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		apply func(context.Context, *install.Verified, *install.Transaction) (install.Outcome, error)
		want  fault.Kind
	}{
		"an error": {func(context.Context, *install.Verified, *install.Transaction) (install.Outcome, error) {
			return install.Outcome{}, errors.New("it does not fit")
		}, fault.Install},
		"a kind of its own": {func(context.Context, *install.Verified, *install.Transaction) (install.Outcome, error) {
			return install.Outcome{}, fault.New(fault.Untrusted, "it is hostile")
		}, fault.Untrusted},
		"time is up": {func(ctx context.Context, _ *install.Verified, _ *install.Transaction) (install.Outcome, error) {
			<-ctx.Done()
			return install.Outcome{}, ctx.Err()
		}, fault.Install},
		"too much evidence": {func(context.Context, *install.Verified, *install.Transaction) (install.Outcome, error) {
			return install.Outcome{Evidence: strings.Repeat("x", 5000)}, nil
		}, fault.Install},
		"it leaves the place": {func(_ context.Context, _ *install.Verified, t *install.Transaction) (install.Outcome, error) {
			p, err := t.Open("/etc/passwd")
			if err == nil {
				p.Close()
			}
			return install.Outcome{}, err
		}, fault.Install},
		"nothing was made": {func(_ context.Context, v *install.Verified, t *install.Transaction) (install.Outcome, error) {
			p, err := t.Open(v.Update().Destination)
			if err == nil {
				err = p.Begin()
			}
			if err == nil {
				err = p.Switch()
			}
			return install.Outcome{}, err
		}, fault.Install},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := installtest.New(t, map[string]install.Handler{"file": odd{c.apply}})
			b.Publisher.Record.Destinations = []string{b.Root}
			b.Org.SetRecord(b.Publisher)
			b.Config.Timeout = 100 * time.Millisecond
			b.Restart()
			if _, err := b.Install(t.Context(), release(b, "1.0", 1, nil), payload("1.0")); !fault.Is(err, c.want) {
				t.Errorf("%v: %v, want %v", fault.Of(err), err, c.want)
			}
			if b.Item().Version != "" {
				t.Error("the inventory has it")
			}
			empty(t, b.Root)
		})
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		command []string
		timeout int64
		want    fault.Kind
		why     string
	}{
		"well":      {[]string{"/bin/sh", "-c", `test "$DUNLIN_VERSION" = 2.0 && grep -q '^2.0:' "$DUNLIN_DESTINATION"`}, 0, 0, ""},
		"unwell":    {[]string{"/bin/false"}, 0, fault.Install, "exit code 1"},
		"hangs":     {[]string{"/bin/sleep", "1000"}, 1, fault.Install, "time was up"},
		"killed":    {[]string{"/bin/sh", "-c", "kill -9 $$"}, 0, fault.Install, "killed"},
		"not there": {[]string{"/no/such/check"}, 0, fault.Install, "no such file"},
		"chatty":    {[]string{"/bin/sh", "-c", "head -c 1000000 /dev/zero; printf '\\033[2J'; exit 1"}, 0, fault.Install, `\x1b[2J`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := bench(t)
			b.MustInstall(release(b, "1.0", 1, nil), payload("1.0"))
			u := release(b, "2.0", 2, func(u *metadata.Update) { u.Health = &metadata.HealthCheck{Command: c.command, Timeout: c.timeout} })
			_, err := b.Install(t.Context(), u, payload("2.0"))
			if fault.Of(err) != c.want || err != nil && (!strings.Contains(err.Error(), c.why) || len(err.Error()) > 3000) {
				t.Errorf("%v: %.1000v", fault.Of(err), err)
			}
			want := "2.0"
			if err != nil {
				want = "1.0"
			}
			if seen(t, b) != want || b.Item().Version != want {
				t.Errorf("%s is there, the inventory says %s", seen(t, b), b.Item().Version)
			}
		})
	}
}

// TestAJournalThatCannotBeRead: nothing can be taken back then, but nothing is stuck either.
func TestAJournalThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"noted", "switched", "written", "decided", "recorded"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			b := bench(t)
			b.MustInstall(release(b, "1.0", 1, nil), payload("1.0"))
			u := release(b, "2.0", 2, nil)
			crash(b, at, u)
			for _, dir := range []string{"begun", "decided"} {
				journal := filepath.Join(b.Config.Dir, dir, "journal")
				if _, err := os.Stat(journal); err == nil {
					must(t, os.Truncate(journal, 50))
				}
			}
			if r, err := b.Installer.Recover(t.Context()); err != nil || r == nil {
				t.Fatalf("%+v, %v", r, err)
			}
			if got := seen(t, b); got != "1.0" && got != "2.0" {
				t.Errorf("%q is there", got)
			}
			b.MustInstall(u, payload("2.0"))
			if seen(t, b) != "2.0" || !b.Item().Present || b.Item().Version != "2.0" {
				t.Errorf("%q is there, the inventory says %+v", seen(t, b), b.Item())
			}
		})
	}
}

// crash stops an installation at a step, as if the power had gone.
func crash(b *installtest.Bench, at string, u *metadata.Update) {
	b.Config.Probe = func(step string) {
		if step == at {
			panic(at)
		}
	}
	b.Restart()
	defer func() {
		_ = recover()
		b.Config.Probe = nil
		b.Restart()
	}()
	_, _ = b.Install(context.Background(), u, payload(u.Version))
}

func TestRecoverSaysWhatItDid(t *testing.T) {
	t.Parallel()
	for at, finished := range map[string]bool{"begun": false, "switched": false, "written": false, "decided": true, "settled": true} {
		b := bench(t)
		if r, err := b.Installer.Recover(t.Context()); r != nil || err != nil {
			t.Errorf("nothing has happened: %+v, %v", r, err)
		}
		b.MustInstall(release(b, "1.0", 1, nil), payload("1.0"))
		crash(b, at, release(b, "2.0", 2, nil))
		r, err := b.Installer.Recover(t.Context())
		if err != nil || r == nil || r.Finished != finished || r.Version != "2.0" || r.Handler != "file" || r.Update.ID != "app" {
			t.Errorf("%s: %+v, %v", at, r, err)
		}
		if want := map[bool]string{false: "1.0", true: "2.0"}[finished]; seen(t, b) != want {
			t.Errorf("%s: %s is there", at, seen(t, b))
		}
		if r, err := b.Installer.Recover(t.Context()); r != nil || err != nil {
			t.Errorf("again: %+v, %v", r, err)
		}
	}
}

// TestWhatSomebodyElseDidMeanwhile: a crash, and before the next start somebody has put his own file there. It is his.
func TestWhatSomebodyElseDidMeanwhile(t *testing.T) {
	t.Parallel()
	b := bench(t)
	crash(b, "switched", release(b, "1.0", 1, nil))
	must(t, os.Remove(destination(b)))
	must(t, os.WriteFile(destination(b), []byte("mine"), 0o600))
	if _, err := b.Installer.Recover(t.Context()); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(destination(b)); string(got) != "mine" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestFoldersOnTheWay(t *testing.T) {
	t.Parallel()
	b := bench(t)
	u := release(b, "1.0", 1, func(u *metadata.Update) { u.Destination = filepath.Join(b.Root, "a", "b", "app") })
	b.MustInstall(u, payload("1.0"))
	for _, name := range []string{"a", "a/b"} {
		if info, err := os.Stat(filepath.Join(b.Root, name)); err != nil || info.Mode() != os.ModeDir|0o755 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

func TestStagingIsTidied(t *testing.T) {
	t.Parallel()
	b := bench(t)
	staging := filepath.Join(b.Config.Dir, "staging")
	old, fresh := filepath.Join(staging, "payload-1"), filepath.Join(staging, "payload-2")
	must(t, errors.Join(os.WriteFile(old, nil, 0o600), os.WriteFile(fresh, nil, 0o600)))
	must(t, os.Chtimes(old, time.Time{}, time.Now().Add(-2*time.Hour)))
	if _, err := b.Installer.Recover(t.Context()); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(staging); err != nil || len(entries) != 1 || entries[0].Name() != "payload-2" {
		t.Errorf("%v, %v", entries, err)
	}
}
