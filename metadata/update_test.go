package metadata_test

import (
	"strings"
	"testing"

	"github.com/dunlin-project/dunlin/metadata"
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

func TestWritesAndNeeds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		u             metadata.Update
		writes, needs string
	}{
		{metadata.Update{Handler: metadata.HandlerFile, Destination: "/opt/a"}, "/opt/a", "file"},
		{metadata.Update{Handler: metadata.HandlerTree, Destination: "/opt/a"}, "/opt/a /opt/a.versions", "tree"},
		{metadata.Update{Handler: metadata.HandlerExec}, "", "exec"},
		{metadata.Update{Handler: metadata.HandlerExec, Health: &metadata.HealthCheck{}}, "", "exec"},
		{metadata.Update{Handler: metadata.HandlerFile, Destination: "/a", Health: &metadata.HealthCheck{}}, "/a", "file exec"},
	} {
		if w, n := strings.Join(c.u.Writes(), " "), strings.Join(c.u.Needs(), " "); w != c.writes || n != c.needs {
			t.Errorf("%+v: writes %q, needs %q", c.u, w, n)
		}
	}
}
