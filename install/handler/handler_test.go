package handler_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dunlin-project/dunlin/install/handler"
	"github.com/dunlin-project/dunlin/install/installtest"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

func TestFileIsAHandler(t *testing.T) {
	t.Parallel()
	installtest.TestHandler(t, installtest.Subject{
		Name: metadata.HandlerFile, Handler: handler.File{},
		Payload: func(version string) []byte { return []byte(version + strings.Repeat(".", 1000)) },
		Fill:    func(u *metadata.Update, root string) { u.Destination = filepath.Join(root, "etc", "app.conf") },
		Installed: func(t testing.TB, root string) string {
			return strings.TrimRight(content(t, filepath.Join(root, "etc", "app.conf")), ".")
		},
	})
}

func TestTreeIsAHandler(t *testing.T) {
	t.Parallel()
	installtest.TestHandler(t, installtest.Subject{
		Name: metadata.HandlerTree, Handler: handler.Tree{},
		Payload: func(version string) []byte { return tarOf(t, "bin/app", version, "share/note", version) },
		Fill: func(u *metadata.Update, root string) {
			u.Destination, u.Uncompressed = filepath.Join(root, "opt", "app"), 1<<20
		},
		Installed: func(t testing.TB, root string) string {
			one := content(t, filepath.Join(root, "opt", "app", "bin", "app"))
			if other := content(t, filepath.Join(root, "opt", "app", "share", "note")); one != other {
				t.Errorf("a mixture of %q and %q", one, other)
			}
			return one
		},
		Bad: []byte("this is no archive"), BadKind: fault.Untrusted,
	})
}

func TestExecIsAHandler(t *testing.T) {
	t.Parallel()
	installtest.TestHandler(t, installtest.Subject{
		Name: metadata.HandlerExec, Handler: handler.Exec{}, Program: true,
		Payload: func(version string) []byte {
			return []byte("#!/bin/sh\nset -e\necho -n " + version + ` > "$1/new"; mv "$1/new" "$1/version"` + "\n")
		},
		Fill: func(u *metadata.Update, root string) { u.Destination, u.Arguments = "", []string{root} },
		Installed: func(t testing.TB, root string) string {
			return content(t, filepath.Join(root, "version"))
		},
		Bad: []byte("#!/bin/sh\necho it does not work; exit 3\n"), BadKind: fault.Install,
	})
}

func content(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	return string(b)
}

// tarOf takes names and contents in turn.
func tarOf(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		err := w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o755, Size: int64(len(files[i+1])), Typeflag: tar.TypeReg})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
