package install

import (
	"encoding/json"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/install/internal/sealed"
	"github.com/dunlin-project/dunlin/metadata"
)

// Decoders of what lies in the state folder. A check sum keeps chance out; these look at what a body may say.

func entry(id string, release int64) floorEntry {
	return floorEntry{Publisher: "acme", ID: id, Release: release}
}

func TestFloorKeepsTheHighest(t *testing.T) {
	t.Parallel()
	f := &floors{}
	for _, e := range []floorEntry{entry("b", 3), entry("a", 1), entry("b", 2), entry("c", 9), entry("a", 4), {Publisher: "abc", ID: "z", Release: 1}} {
		f.raise(e)
	}
	want := []floorEntry{{Publisher: "abc", ID: "z", Release: 1}, entry("a", 4), entry("b", 3), entry("c", 9)}
	if !slices.Equal(f.Entries, want) {
		t.Errorf("got %+v", f.Entries)
	}
	b, err := f.encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := decodeFloors(b)
	if err != nil || !slices.Equal(again.Entries, want) {
		t.Errorf("read again: %+v, %v", again, err)
	}
	if e, ok := again.get(metadata.Key{Publisher: "acme", ID: "b"}); !ok || e.Release != 3 {
		t.Errorf("got %+v, %v", e, ok)
	}
	if _, ok := again.get(metadata.Key{Publisher: "acme", ID: "bb"}); ok {
		t.Error("found what is not there")
	}
}

func TestFloorsThatCannotBe(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"nothing":       ``,
		"null in place": `{"sequence":"1","entries":[]}`,
		"unknown field": `{"sequence":1,"entries":[],"x":1}`,
		"more behind":   `{"sequence":1,"entries":[]}{}`,
		"unsorted":      `{"sequence":1,"entries":[{"publisher":"b","id":"x","release":1,"sha256":"` + zeros() + `","lowest":0},{"publisher":"a","id":"x","release":1,"sha256":"` + zeros() + `","lowest":0}]}`,
		"twice":         `{"sequence":1,"entries":[{"publisher":"a","id":"x","release":1,"sha256":"` + zeros() + `","lowest":0},{"publisher":"a","id":"x","release":1,"sha256":"` + zeros() + `","lowest":0}]}`,
		"release 0":     `{"sequence":1,"entries":[{"publisher":"a","id":"x","release":0,"sha256":"` + zeros() + `","lowest":0}]}`,
		"bad name":      `{"sequence":1,"entries":[{"publisher":"../a","id":"x","release":1,"sha256":"` + zeros() + `","lowest":0}]}`,
		"negative":      `{"sequence":-1,"entries":[]}`,
	} {
		if f, err := parseFloors([]byte(body)); err == nil {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

func zeros() string { return strings.Repeat("0", 64) }

func sound() *change {
	c := newChange("", "/opt", "/opt/sub/app")
	c.Made, c.Drop, c.Had, c.Which = []string{"app.versions/2"}, []string{"app.versions/1"}, true, &which{Inode: 7}
	return c
}

func TestChangesThatCannotBe(t *testing.T) {
	t.Parallel()
	if err := sound().check(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*change){
		"relative base":    func(c *change) { c.Base = "image" },
		"relative prefix":  func(c *change) { c.Prefix = "opt" },
		"unclean prefix":   func(c *change) { c.Prefix = "/opt/../etc" },
		"folder up":        func(c *change) { c.Folder = "../etc" },
		"folder absolute":  func(c *change) { c.Folder = "/etc" },
		"name with slash":  func(c *change) { c.Name = "a/b" },
		"name is dot":      func(c *change) { c.Name = "." },
		"no name":          func(c *change) { c.Name = "" },
		"new is not ours":  func(c *change) { c.New = "passwd" },
		"old is not ours":  func(c *change) { c.Old = "../.dunlin-x.old" },
		"work is not ours": func(c *change) { c.Work = "shadow" },
		"made up":          func(c *change) { c.Made = []string{"../x"} },
		"made everything":  func(c *change) { c.Made = []string{"."} },
		"made the name":    func(c *change) { c.Made = []string{"app"} },
		"drops the name":   func(c *change) { c.Drop = []string{"app"} },
		"drops up":         func(c *change) { c.Drop = []string{"a/../../b"} },
	} {
		c := sound()
		spoil(c)
		if c.check() == nil {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

func TestPlaces(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ prefix, destination, wantPrefix, wantFolder, wantName string }{
		{"/", "/app", "/", ".", "app"},
		{"/", "/opt/app", "/", "opt", "app"},
		{"/opt", "/opt/app", "/opt", ".", "app"},
		{"/opt", "/opt/a/b/app", "/opt", "a/b", "app"},
		{"/opt/app", "/opt/app", "/opt", ".", "app"},
		{"/app", "/app", "/", ".", "app"},
	} {
		got := newChange("", c.prefix, c.destination)
		if got.Prefix != c.wantPrefix || got.Folder != c.wantFolder || got.Name != c.wantName || got.check() != nil {
			t.Errorf("%s in %s: %+v, %v", c.destination, c.prefix, got, got.check())
		}
	}
}

func TestAllowedPrefix(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		prefixes    []string
		destination string
		want        string
		ok          bool
	}{
		{nil, "/opt/app", "", false},
		{[]string{"/opt"}, "/opt/app", "/opt", true},
		{[]string{"/opt"}, "/opt", "/opt", true},
		{[]string{"/opt"}, "/optical", "", false},
		{[]string{"/opt/app", "/opt"}, "/opt/app/x", "/opt", true},
		{[]string{"/"}, "/etc/x", "/", true},
		{[]string{"/"}, "etc/x", "", false},
		{[]string{"/opt"}, "", "", false},
	} {
		if got, ok := allowedPrefix(c.prefixes, c.destination); got != c.want || ok != c.ok {
			t.Errorf("%q in %q: %q, %v", c.destination, c.prefixes, got, ok)
		}
	}
}

func FuzzFloor(f *testing.F) {
	b, err := json.Marshal(&floors{Sequence: 3, Entries: []floorEntry{entry("a", 1), entry("b", 2)}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"sequence":1,"lost":true,"entries":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := parseFloors(body)
		if err != nil {
			return
		}
		b, err := got.encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeFloors(b)
		if err != nil || !slices.Equal(again.Entries, got.Entries) {
			t.Errorf("not the same again: %v", err)
		}
	})
}

func FuzzJournal(f *testing.F) {
	for _, j := range []journal{{Publisher: "acme", ID: "app", Version: "1", Handler: "file"}, {Change: sound()}} {
		b, err := json.Marshal(j)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		j, err := parseJournal(body)
		if err != nil || j.Change == nil {
			return
		}
		// Whatever is accepted can only ever remove names of ours, and what lies below the place.
		c := j.Change
		for _, name := range []string{c.New, c.Old, c.Work} {
			if !strings.HasPrefix(name, ".dunlin-") || strings.Contains(name, "/") {
				t.Errorf("would remove %q", name)
			}
		}
		for _, name := range append(c.Made, c.Drop...) {
			if !fs.ValidPath(name) || name == "." || path.IsAbs(name) {
				t.Errorf("would remove %q", name)
			}
		}
	})
}

func FuzzRecord(f *testing.F) {
	r := &Record{Publisher: "acme", ID: "app", Version: "1.0", Release: 1, Installed: time.Unix(0, 0).UTC(), Floor: entry("app", 1)}
	b, err := json.Marshal(r)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := parseRecord(body)
		if err != nil {
			return
		}
		file := folder("/state").recordFile(r.Key())
		if path.Dir(path.Dir(file)) != "/state/installed" {
			t.Errorf("it would lie at %q", file)
		}
		b, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sealed.Decode(recordFormat, b); err != nil {
			t.Error(err)
		}
	})
}

func FuzzBundle(f *testing.F) {
	packed, err := packBundle(metadata.Bundle{Approvals: metadata.Files{"metadata/timestamp.json": []byte("{}")}}, "acme")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed)
	f.Fuzz(func(t *testing.T, packed []byte) {
		if b, err := unpackBundle(packed); err == nil {
			if _, err := b.Encode(); err != nil {
				t.Error(err)
			}
		}
	})
}
