package approved

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/piecehash"
)

// layerMemory is how many bytes of piece layers are in memory; the others are read when they are asked for.
const layerMemory = 32 << 20

const layerMode = 0o600

// layers keeps piece layers in a folder, each under its root. They prove themselves when they are read.
type layers struct {
	dir string

	mu    sync.Mutex // guards the rest
	ready map[piecehash.Root]*piecehash.Manifest
	bytes int64 // of ready
}

func openLayers(dir string) (*layers, error) {
	if err := durable.MkdirPrivate(dir); err != nil {
		return nil, fmt.Errorf("open piece layers: %w", err)
	}
	return &layers{dir: dir, ready: make(map[piecehash.Root]*piecehash.Manifest)}, nil
}

func (l *layers) file(root piecehash.Root) string { return filepath.Join(l.dir, root.String()) }

// get returns the manifest of content, or nil when its layer is not here.
func (l *layers) get(c piecehash.Content) *piecehash.Manifest {
	l.mu.Lock()
	m := l.ready[c.Root()]
	l.mu.Unlock()
	if m != nil && m.Content == c {
		return m
	}
	var b []byte
	if c.LayerSize() > 0 {
		var err error
		if b, err = os.ReadFile(l.file(c.Root())); err != nil {
			return nil
		}
	}
	m, err := c.Prove(b)
	if err != nil { // it has rotted, or is of another piece length: as good as none
		return nil
	}
	l.remember(m)
	return m
}

// remember keeps a manifest in memory, in place of any others if need be.
func (l *layers) remember(m *piecehash.Manifest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(m.Root())
	for root := range l.ready {
		if l.bytes+m.LayerSize() <= layerMemory {
			break
		}
		l.forget(root)
	}
	l.ready[m.Root()] = m
	l.bytes += m.LayerSize()
}

// forget takes a manifest out of memory. l.mu is held.
func (l *layers) forget(root piecehash.Root) {
	if m := l.ready[root]; m != nil {
		delete(l.ready, root)
		l.bytes -= m.LayerSize()
	}
}

func (l *layers) put(m *piecehash.Manifest) error {
	if m.LayerSize() > 0 {
		if err := durable.WriteFile(l.file(m.Root()), m.Layer(), layerMode); err != nil {
			return fmt.Errorf("keep piece layer: %w", err)
		}
	}
	l.remember(m)
	return nil
}

// keepOnly deletes the layers of everything else.
func (l *layers) keepOnly(roots map[piecehash.Root]bool, log *slog.Logger) {
	entries, err := os.ReadDir(l.dir)
	for _, e := range entries {
		if root, bad := piecehash.ParseRoot(e.Name()); bad == nil && !roots[root] {
			err = errors.Join(err, durable.Remove(l.file(root)))
		}
	}
	if err != nil {
		log.Warn("piece layers that are not needed stay", slog.Any("err", err))
	}
}

// layerSource gives piece layers. metadata.Client is one, and a swarm.
type layerSource interface {
	Layer(ctx context.Context, c piecehash.Content) (*piecehash.Manifest, error)
}
