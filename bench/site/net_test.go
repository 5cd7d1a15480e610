package site

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/dunlin-project/dunlin/bench/line"
	"github.com/dunlin-project/dunlin/e2e/lab"
)

// network is where the clients take turns.
type network struct{ *line.Network }

func build(t *testing.T, maker *lab.Maker, s line.Shape) *network {
	t.Helper()
	return &network{line.Build(t, maker, s)}
}

// hook makes a script that says "done", for clients that can only run one.
func (w *network) hook() string {
	w.T.Helper()
	name := filepath.Join(w.Dir, "done.sh")
	if err := os.WriteFile(name, []byte("#!/bin/sh\necho done\n"), 0o755); err != nil {
		w.T.Fatal(err)
	}
	return name
}

// compare reports a file that is not the content, byte for byte, and removes it.
func (w *network) compare(d *line.Device) error {
	if err := w.Compare(filepath.Join(d.Dir, line.File)); err != nil {
		return fmt.Errorf("the file of %s: %w", d.Host.Name, err)
	}
	return nil
}
