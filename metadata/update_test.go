package metadata_test

import (
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
