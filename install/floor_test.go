package install_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dunlin-project/dunlin/install/installtest"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

// step is one attempt to install a release on the device of TestFloor.
type step struct {
	release   int64
	lowest    int64 // what its record allows
	downgrade bool  // what its approval says
	withdraw  int64 // a release that the publisher takes away before
	other     bool  // another content than the release had before
	want      fault.Kind
}

func TestFloor(t *testing.T) {
	t.Parallel()
	for name, steps := range map[string][]step{
		"up, up":                              {{release: 1}, {release: 2}, {release: 9}},
		"the same again":                      {{release: 2}, {release: 2}},
		"the same release, another content":   {{release: 2}, {release: 2, other: true, want: fault.Refused}},
		"down":                                {{release: 2}, {release: 1, want: fault.Refused}, {release: 3}},
		"down, only the organisation":         {{release: 2}, {release: 1, downgrade: true, want: fault.Refused}},
		"down, only the publisher":            {{release: 3, lowest: 1}, {release: 2, want: fault.Refused}},
		"down, both":                          {{release: 3, lowest: 1}, {release: 2, downgrade: true}, {release: 1, downgrade: true}, {release: 3}},
		"down, too far":                       {{release: 3, lowest: 2}, {release: 1, downgrade: true, want: fault.Refused}, {release: 2, downgrade: true}},
		"down, says the old record":           {{release: 3}, {release: 2, lowest: 1, downgrade: true, want: fault.Refused}},
		"down, the release is withdrawn":      {{release: 3, lowest: 2}, {release: 2, downgrade: true, withdraw: 3}},
		"down, withdrawn and never allowed":   {{release: 3}, {release: 2, lowest: 1, downgrade: true, withdraw: 3, want: fault.Refused}},
		"up to below the highest ever":        {{release: 5, lowest: 1}, {release: 1, downgrade: true}, {release: 4, want: fault.Refused}, {release: 4, downgrade: true}},
		"a refused one does not raise it":     {{release: 5}, {release: 3, want: fault.Refused}, {release: 4, want: fault.Refused}, {release: 6}},
		"a first one may be anything":         {{release: 7}},
		"a newer one forbids what one allows": {{release: 3, lowest: 1}, {release: 4, lowest: 4}, {release: 3, downgrade: true, want: fault.Refused}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			climb(t, steps)
		})
	}
}

func climb(t *testing.T, steps []step) {
	t.Helper()
	b := bench(t)
	at := ""
	for n, s := range steps {
		version := string(rune('0' + s.release))
		content := payload(version)
		if s.other {
			content = append(content, "changed"...)
		}
		if s.withdraw > 0 {
			b.Publisher.Withdraw("app", string(rune('0'+s.withdraw)))
		}
		u := b.Release(version, s.release, content, func(u *metadata.Update) { u.Destination, u.LowestDowngrade = destination(b), s.lowest })
		b.Org.Approve(installtest.Ring, b.Publisher, u, func(a *metadata.Approval) { a.Downgrade = s.downgrade })
		_, err := b.Install(t.Context(), u, content)
		if fault.Of(err) != s.want {
			t.Fatalf("step %d: %v: %v, want %v", n, fault.Of(err), err, s.want)
		}
		if err == nil {
			at = version
		} else if fault.Hint(err) == "" {
			t.Errorf("step %d: %v says nothing that could be done", n, err)
		}
		if seen(t, b) != at || b.Item().Version != at {
			t.Fatalf("step %d: %q is there, the inventory says %q, want %q", n, seen(t, b), b.Item().Version, at)
		}
	}
}

// TestFloorKnowsEachUpdate: the floor of one id says nothing about another.
func TestFloorKnowsEachUpdate(t *testing.T) {
	t.Parallel()
	b := bench(t)
	b.MustInstall(release(b, "5", 5, nil), payload("5"))
	u := b.Publisher.Update("other", "1", 1, payload("1"))
	u.Destination = filepath.Join(b.Root, "other")
	b.Publisher.Add(u, payload("1"))
	b.Org.Approve(installtest.Ring, b.Publisher, u, nil)
	b.MustInstall(u, payload("1"))
}

// Ways to lose the floor. Only the loss of both copies makes the inventory speak, and only the loss of that, too, the
// newest release of the catalogue.
func TestADamagedFloor(t *testing.T) {
	t.Parallel()
	damage := func(t *testing.T, path string) {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	truncate := func(t *testing.T, path string) { must(t, os.Truncate(path, 0)) }
	remove := func(t *testing.T, path string) { must(t, os.Remove(path)) }
	folder := func(t *testing.T, path string) { must(t, errors.Join(os.Remove(path), os.Mkdir(path, 0o700))) }
	record := filepath.Join("installed", "acme", "app.json")
	for name, c := range map[string]struct {
		spoil func(*testing.T, string)
		files []string
	}{
		"one copy, a bit":              {damage, []string{"floor.a"}},
		"the other copy, cut":          {truncate, []string{"floor.b"}},
		"one copy, gone":               {remove, []string{"floor.a"}},
		"one copy, a folder":           {folder, []string{"floor.b"}},
		"both, a bit":                  {damage, []string{"floor.a", "floor.b"}},
		"both, gone":                   {remove, []string{"floor.a", "floor.b"}},
		"the record":                   {damage, []string{record}},
		"the record and one copy":      {damage, []string{record, "floor.a"}},
		"everything, a bit":            {damage, []string{"floor.a", "floor.b", record}},
		"everything, gone":             {remove, []string{"floor.a", "floor.b", record}},
		"everything, in different way": {truncate, []string{"floor.a", "floor.b", record}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := bench(t)
			old := release(b, "1", 1, nil)
			b.MustInstall(release(b, "2", 2, nil), payload("2"))
			for _, f := range c.files {
				c.spoil(t, filepath.Join(b.Config.Dir, f))
			}
			b.Restart()
			if _, err := b.Install(t.Context(), old, payload("1")); !fault.Is(err, fault.Refused) || fault.Hint(err) == "" {
				t.Errorf("a step back: %v: %v", fault.Of(err), err)
			}
			b.MustInstall(release(b, "3", 3, nil), payload("3")) // no help is needed
			for _, f := range []string{"floor.a", "floor.b", record} {
				if info, err := os.Stat(filepath.Join(b.Config.Dir, f)); err != nil || info.Size() == 0 {
					t.Errorf("%s was not made anew: %v", f, err)
				}
			}
			if _, err := b.Install(t.Context(), old, payload("1")); !fault.Is(err, fault.Refused) {
				t.Errorf("a step back after that: %v", err)
			}
		})
	}
}

// TestALostFloorStaysLost: what was installed before the loss is still unknown after another update was installed.
func TestALostFloorStaysLost(t *testing.T) {
	t.Parallel()
	b := bench(t)
	b.MustInstall(release(b, "2", 2, nil), payload("2"))
	old := release(b, "1", 1, nil)
	for _, f := range []string{"floor.a", "floor.b", filepath.Join("installed", "acme", "app.json")} {
		must(t, os.Remove(filepath.Join(b.Config.Dir, f)))
	}
	u := b.Publisher.Update("other", "1", 1, payload("1"))
	u.Destination = filepath.Join(b.Root, "other")
	b.Publisher.Add(u, payload("1"))
	b.Org.Approve(installtest.Ring, b.Publisher, u, nil)
	b.MustInstall(u, payload("1"))
	if _, err := b.Install(t.Context(), old, payload("1")); !fault.Is(err, fault.Refused) || !strings.Contains(err.Error(), "lost") {
		t.Errorf("%v: %v", fault.Of(err), err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
