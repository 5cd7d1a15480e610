package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// TestCacheBundle carries contents from one node's folder to another's, by a file and by a pipe.
func TestCacheBundle(t *testing.T) {
	dir, m := cacheFolder(t, 100_000, 50_000, 64<<10) // the last is not whole
	file := filepath.Join(t.TempDir(), "site.tar")
	if out := says(t, "cache", "export", file, "--dir", dir); !strings.Contains(out, "exported 2 contents, 146.5 KiB; 0 of them") {
		t.Errorf("export says\n%s", out)
	}
	other := filepath.Join(t.TempDir(), "node") // never used
	out := says(t, "cache", "import", file, "--dir", other, "--json", "--reserve", "1")
	var e bundleEvent
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &e); err != nil || e.Event != "imported" || e.Contents != 2 || e.Bytes != 150_000 || e.There != 0 {
		t.Errorf("import says\n%s: %v", out, err)
	}
	if got := says(t, "cache", "list", "--json", "--dir", other); strings.Count(got, `"whole":true`) != 2 {
		t.Errorf("there are\n%s", got)
	}

	var pipe, said bytes.Buffer
	run := func(in io.Reader, out io.Writer, args ...string) error {
		app := newApp()
		app.Reader, app.Writer, app.ErrWriter = in, out, &said
		return app.RunContext(t.Context(), flagsFirst(app, append([]string{"dunlin", "cache"}, args...)))
	}
	root := m[1].Root().String()
	if err := run(nil, &pipe, "export", "-", root, "--dir", dir, "--json"); err != nil {
		t.Fatal(err)
	}
	third := filepath.Join(t.TempDir(), "node")
	if err := run(&pipe, &said, "import", "-", "--dir", third, "--reserve", "1"); err != nil {
		t.Fatal(err)
	}
	if got := says(t, "cache", "list", "--json", "--dir", third); strings.Count(got, "\n") != 1 || !strings.Contains(got, root) {
		t.Errorf("by the pipe came\n%s\n%s", got, said.String())
	}
}

func TestCacheBundleThatCannotBe(t *testing.T) {
	dir, m := cacheFolder(t, 100_000, 50_000)
	there := filepath.Join(t.TempDir(), "there")
	if err := os.WriteFile(there, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		args []string
		kind fault.Kind
	}{
		"no file":          {[]string{"export", "--dir", dir}, fault.Usage},
		"a file is there":  {[]string{"export", there, "--dir", dir}, fault.Refused},
		"what is begun":    {[]string{"export", there + "2", m[1].Root().String(), "--dir", dir}, fault.Usage},
		"no store":         {[]string{"export", there + "3", "--dir", t.TempDir()}, fault.Usage},
		"nothing to read":  {[]string{"import", there + "4", "--dir", dir}, fault.Usage},
		"no bundle":        {[]string{"import", there, "--dir", dir}, fault.Unavailable},
		"two files":        {[]string{"import", there, there, "--dir", dir}, fault.Usage},
		"a senseless size": {[]string{"import", there, "--dir", dir, "--reserve", "x"}, fault.Usage},
	} {
		if _, err := dunlin(t, append([]string{"cache"}, c.args...)...); fault.Of(err) != c.kind {
			t.Errorf("%s: kind %v, want %v: %v", what, fault.Of(err), c.kind, err)
		}
	}
}
