package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/cachenode/approved"
	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/member"
	"github.com/dunlin-project/dunlin/metadata/metadatatest"
)

func TestUpdateName(t *testing.T) {
	t.Parallel()
	type name [3]string
	file := filepath.Join(t.TempDir(), "app")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]name{
		"acme/app": {"acme", "app", ""}, "acme/app/1.0": {"acme", "app", "1.0"}, "acme/app@1.0+b": {"acme", "app", "1.0+b"},
		"acme": {}, "acme/": {}, "acme/app/": {}, "acme/app/1/2": {}, "Acme/app": {}, "acme/app.torrent": {},
		"http://acme/app": {}, "./acme/app": {}, "../app": {}, file: {},
	} {
		publisher, id, version, ok := updateName(text)
		if ok != (want != name{}) || ok && want != (name{publisher, id, version}) {
			t.Errorf("%q: %q %q %q %v, want %q", text, publisher, id, version, ok, want)
		}
	}
}

// TestMovesWithTheGroup: a node in the organisation's group ends its life there when another is signed; one that was told its
// groups stays.
func TestMovesWithTheGroup(t *testing.T) {
	t.Parallel()
	for name, told := range map[string][]string{"as signed": nil, "as told": {"mine"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			org, depot := metadatatest.NewOrg(t, time.Now(), "pilot"), t.TempDir()
			sign := func(group string) {
				org.SetFleet(metadata.Fleet{Group: group})
				org.Write(depot)
			}
			sign("old")
			opt := cacheOptions{dir: filepath.Join(t.TempDir(), "node"), groups: told}
			opt.follows, opt.joined, opt.interval = told == nil, true, approved.MinInterval
			opt.Depots, opt.Rings = []string{"file://" + depot}, []string{"pilot"}
			opt.anchors = member.Anchors{Root: org.Anchor()}
			known, err := openKnown(t.Context(), opt, make([]byte, 64), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			want := []string{"old"}
			if told != nil {
				want = told
			}
			if opt.groups = known.groups(opt); !slices.Equal(opt.groups, want) {
				t.Fatalf("groups %q, want %q", opt.groups, want)
			}
			gate := httpfallback.NewGate(httpfallback.GateConfig{})
			defer gate.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			sign("new")
			moved := false
			work := func(ctx context.Context) error {
				for ctx.Err() == nil && (told == nil || known.approved.Group() != "new") {
					time.Sleep(10 * time.Millisecond)
				}
				cancel()
				return nil
			}
			if err := known.follow(gate, opt, work, &moved)(ctx); err != nil || moved != (told == nil) {
				t.Errorf("moved %v, %v", moved, err)
			}
			if known.approved.Group() != "new" {
				t.Errorf("group %q", known.approved.Group())
			}
		})
	}
}
