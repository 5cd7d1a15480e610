package metadata

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/tuf"
)

// ErrUnsaved is in the error of a Sync that has verified what its view says, and could not write it to the disk. The view
// counts, and nothing older is believed, until the process ends; what counts after that is what was saved last, until the disk
// takes the newer or the depot is asked again.
var ErrUnsaved = errors.New("the metadata that was verified could not be saved")

const bundleName = "bundle" // of the last good bundle, in ClientConfig.Dir

// memory is what clients of one folder remember: what lies there, and what the folder does not take.
type memory struct {
	dir    string
	anchor []byte // of the approvals
	log    *slog.Logger
	stores map[string]*tuf.Kept // by the name of their folder
	bundle *Bundle              // that could not be saved
	err    error                // why
	told   bool                 // that something is unsaved
}

func newMemory(cfg ClientConfig) *memory {
	return &memory{dir: cfg.Dir, anchor: cfg.Anchor, log: cfg.Log, stores: make(map[string]*tuf.Kept)}
}

// open makes the folder, and writes to it what could not be written before. A folder that cannot be made is done without.
func (m *memory) open(ctx context.Context, now time.Time) error {
	if err := durable.MkdirPrivate(m.dir); err != nil && !fault.Is(err, fault.Unavailable) {
		return err
	}
	approvals := storeName("approvals", m.anchor)
	for name, s := range m.stores {
		if s.Unsaved() == nil {
			continue
		}
		overtaken, err := s.Open(ctx, now)
		if err != nil {
			return err
		}
		if overtaken && name == approvals {
			m.bundle = nil
		}
	}
	if m.bundle != nil {
		m.saveBundle(*m.bundle)
	}
	if m.told && m.unsaved() == nil {
		m.told = false
		m.log.Info("the metadata that could not be saved is saved now")
	}
	return nil
}

// store returns the store of one repository and its name, which holds the root that it is anchored in: with another root begins
// another memory.
func (m *memory) store(name string, anchor []byte) (string, *tuf.Kept) {
	name = storeName(name, anchor)
	if m.stores[name] == nil {
		m.stores[name] = tuf.NewKept(filepath.Join(m.dir, name), anchor, m.log)
	}
	return name, m.stores[name]
}

func storeName(name string, anchor []byte) string {
	return fmt.Sprintf("%s-%.8x", name, sha256.Sum256(anchor))
}

// storesOf lists the stores of a publisher whose root is not known today.
func (m *memory) storesOf(publisher string) []string {
	pattern := "catalogue-" + publisher + "-????????????????"
	paths, _ := filepath.Glob(filepath.Join(m.dir, pattern))
	for i, p := range paths {
		paths[i] = filepath.Base(p)
	}
	for name := range m.stores {
		if ok, _ := filepath.Match(pattern, name); ok {
			paths = append(paths, name)
		}
	}
	return paths
}

// saveBundle keeps the bundle of a good cycle: in the folder, or else in memory.
func (m *memory) saveBundle(b Bundle) {
	m.bundle, m.err = nil, m.writeBundle(b)
	if m.err != nil {
		m.bundle = &b
	}
}

func (m *memory) writeBundle(b Bundle) error {
	raw, err := b.Encode()
	if err != nil {
		return err
	}
	dir := tuf.Dir(m.dir)
	if bytes.Equal(dir.Load(bundleName, MaxBundleSize), raw) {
		return nil
	}
	return dir.Save(bundleName, raw)
}

// lastBundle returns the bundle of the last good cycle. One that is damaged is as good as none, since it is only a memory.
func (m *memory) lastBundle() (Bundle, error) {
	if m.bundle != nil {
		return *m.bundle, nil
	}
	raw := tuf.Dir(m.dir).Load(bundleName, MaxBundleSize)
	if raw == nil {
		return Bundle{}, fault.New(fault.Unavailable, "read the last good metadata: there is none")
	}
	b, err := ParseBundle(raw)
	if err != nil {
		return Bundle{}, fault.New(fault.Unavailable, "read the last good metadata: it is damaged: %v", err)
	}
	return b, nil
}

// unsaved says that, and why, something is in memory only, and what that means; nil if all is saved.
func (m *memory) unsaved() error {
	err := m.err
	for _, s := range m.stores {
		err = fault.WorstOf(err, s.Unsaved())
	}
	if err == nil {
		return nil
	}
	err = fault.New(fault.Of(err), "%w; it counts now, and from a restart on what was saved before, until the depot is reached: %w", ErrUnsaved, err)
	if !m.told {
		m.told = true
		m.log.Warn("metadata is kept in memory only", slog.Any("err", err))
	}
	return err
}

// prune forgets repositories that nothing leads to any more: of a publisher that is no longer trusted, of another depot. On the
// disk it does so only once what leads to the others is saved: after a restart the older would be begun anew with.
func (m *memory) prune(keep []string) {
	for name := range m.stores {
		if !slices.Contains(keep, name) {
			delete(m.stores, name)
		}
	}
	entries, err := os.ReadDir(m.dir)
	if err != nil || m.unsaved() != nil {
		return
	}
	for _, e := range entries {
		ours := strings.HasPrefix(e.Name(), "approvals-") || strings.HasPrefix(e.Name(), "catalogue-")
		if !ours || !e.IsDir() || slices.Contains(keep, e.Name()) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(m.dir, e.Name())); err != nil {
			m.log.Warn("old metadata could not be removed", slog.Any("err", err))
		}
	}
}
