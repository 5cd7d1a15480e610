package metadata_test

import (
	"slices"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/metadatatest"
	"github.com/dunlin-project/dunlin/piecehash"
)

func TestReplaces(t *testing.T) {
	t.Parallel()
	u := func(publisher, id string, release int64, over ...string) *metadata.Update {
		return &metadata.Update{Publisher: publisher, ID: id, Release: release, Supersedes: over}
	}
	for _, c := range []struct {
		a, b *metadata.Update
		want bool
	}{
		{u("p", "app", 2), u("p", "app", 1), true},
		{u("p", "app", 1), u("p", "app", 1), false},
		{u("p", "app", 1), u("p", "app", 2), false},
		{u("p", "app", 9), u("p", "tool", 1), false},
		{u("p", "suite", 1, "app"), u("p", "app", 9), true},
		{u("q", "suite", 1, "app"), u("p", "app", 9), false}, // of another publisher's updates nobody speaks
		{u("q", "app", 2), u("p", "app", 1), false},
	} {
		if got := c.a.Replaces(c.b); got != c.want {
			t.Errorf("%+v over %+v: %v", c.a, c.b, got)
		}
	}
}

func TestNewest(t *testing.T) {
	t.Parallel()
	org := metadatatest.NewOrg(t, start(), "pilot")
	acme, zorg := org.Trust("acme"), org.Trust("zorg")
	add := func(p *metadatatest.Publisher, id, version string, release int64, released time.Duration, over ...string) {
		u := p.Update(id, version, release, []byte(id+version))
		u.Supersedes, u.Released = over, start().Add(released)
		p.Add(u, []byte(id+version))
		org.Approve("pilot", p, u, nil)
	}
	add(acme, "app", "1.9", 9, 0)
	add(acme, "app", "1.10", 10, 0)
	add(acme, "app", "2.0-beta", 11, 0) // does not apply here
	add(acme, "old", "1", 1, 0)
	add(acme, "suite", "1", 1, 0, "old")
	add(acme, "left", "1", 1, time.Hour, "right")
	add(acme, "right", "1", 1, 2*time.Hour, "left")
	add(zorg, "app", "0.1", 1, 0, "suite")
	var got []string
	for _, o := range metadata.Newest(org.View(start()).Offers("pilot"), func(u *metadata.Update) bool { return u.Release != 11 }) {
		got = append(got, o.Key().Publisher+"/"+o.Target().Path)
	}
	if want := []string{"acme/app/1.10", "acme/right/1", "acme/suite/1", "zorg/app/0.1"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestUnmet(t *testing.T) {
	t.Parallel()
	u := &metadata.Update{Requires: []metadata.Requirement{
		{ID: "runtime", Version: "1", SHA256: piecehash.Hash{1}}, {ID: "driver", Version: "1", SHA256: piecehash.Hash{2}}, {ID: "font", Version: "1", SHA256: piecehash.Hash{3}},
	}}
	have := map[string]piecehash.Hash{"runtime": {1}, "driver": {9}}
	got := u.Unmet(func(id string) (piecehash.Hash, bool) { h, ok := have[id]; return h, ok })
	if len(got) != 2 || got[0].ID != "driver" || got[1].ID != "font" {
		t.Errorf("unmet: %v", got)
	}
}
