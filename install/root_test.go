package install_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

// TestRoot installs into an image: destinations are the image's, and no link in it leads out of it.
func TestRoot(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	for name, c := range map[string]struct {
		prefix, destination string
		plant               func(root string) error
		want                fault.Kind
		at                  string
	}{
		"plain":                     {"/", "/opt/app", nil, 0, "opt/app"},
		"a prefix":                  {"/opt", "/opt/app", nil, 0, "opt/app"},
		"the prefix itself":         {"/opt/app", "/opt/app", nil, 0, "opt/app"},
		"a link within":             {"/opt", "/opt/app", func(r string) error { return link("srv", r+"/opt", r+"/srv") }, 0, "srv/app"},
		"a prefix that leads out":   {"/opt", "/opt/app", func(r string) error { return link(outside, r+"/opt") }, fault.Install, ""},
		"a prefix that climbs out":  {"/opt", "/opt/app", func(r string) error { return link("../../../../.."+outside, r+"/opt") }, fault.Install, ""},
		"a folder that leads out":   {"/", "/opt/app", func(r string) error { return link(outside, r+"/opt") }, fault.Install, ""},
		"a prefix that is absolute": {"/opt", "/opt/app", func(r string) error { return link("/srv", r+"/opt", r+"/srv") }, fault.Install, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := bench(t)
			b.Config.Root = b.Root
			b.Restart()
			if c.plant != nil {
				must(t, c.plant(b.Root))
			}
			b.Publisher.Record.Destinations = []string{c.prefix}
			b.Org.SetRecord(b.Publisher)
			u := b.Release("1.0", 1, payload("1.0"), func(u *metadata.Update) { u.Destination = c.destination })
			_, err := b.Install(t.Context(), u, payload("1.0"))
			if fault.Of(err) != c.want {
				t.Fatalf("%v: %v", fault.Of(err), err)
			}
			empty(t, outside)
			if err != nil {
				return
			}
			if _, err := os.Lstat(filepath.Join(b.Root, c.at)); err != nil {
				t.Error(err)
			}
			if i := b.Item(); !i.Present || i.Destination != filepath.Join(b.Root, c.destination) {
				t.Errorf("%+v", i)
			}
		})
	}
}

// link plants a link, and before it the folders that are named.
func link(target, at string, folders ...string) error {
	var err error
	for _, f := range folders {
		err = errors.Join(err, os.Mkdir(f, 0o755))
	}
	return errors.Join(err, os.Symlink(target, at))
}
