package tuf

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// Kept is a store in a private folder that goes on in memory with what the folder does not take. What was verified then
// counts until the process ends, against a rollback too, and is written at the next Open that can. It holds no more than the
// folder would: each role's newest file, and the chain of roots. One goroutine at a time may call its methods.
type Kept struct {
	dir     Dir
	anchor  []byte
	log     *slog.Logger
	unsaved map[string]unsaved // by name
	err     error              // why the last of them could not be written
}

// unsaved is a file that is in memory only.
type unsaved struct {
	b   []byte
	old [sha256.Size]byte // of what the folder had under its name
}

// NewKept returns the store of the repository that a root file anchors. A nil log discards. It touches no disk.
func NewKept(path string, anchor []byte, log *slog.Logger) *Kept {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Kept{dir: Dir(path), anchor: anchor, log: log, unsaved: make(map[string]unsaved)}
}

// Load implements Store.
func (k *Kept) Load(name string, limit int64) []byte {
	if f, ok := k.unsaved[name]; ok {
		return f.b[:min(int64(len(f.b)), limit+1)]
	}
	return k.dir.Load(name, limit)
}

// Save implements Store. It never fails; see Unsaved.
func (k *Kept) Save(name string, b []byte) error {
	if err := k.dir.Save(name, b); err != nil {
		f, again := k.unsaved[name]
		if f.b = b; !again {
			f.old = k.onDisk(name)
		}
		k.unsaved[name], k.err = f, err
		return nil
	}
	delete(k.unsaved, name)
	return nil
}

func (k *Kept) onDisk(name string) [sha256.Size]byte {
	return sha256.Sum256(k.dir.Load(name, MaxTargetsSize))
}

// Unsaved returns why something is in memory only, or nil.
func (k *Kept) Unsaved() error {
	if len(k.unsaved) == 0 {
		return nil
	}
	return k.err
}

// Open makes the folder if need be, and writes to it what could not be written before. A folder that others can write to is
// refused; one that cannot be made is done without. overtaken says that another process has gone further with the folder
// meanwhile, which is where this one goes on from then.
func (k *Kept) Open(ctx context.Context, now time.Time) (overtaken bool, _ error) {
	if _, err := OpenDir(string(k.dir)); err != nil && !fault.Is(err, fault.Unavailable) {
		return false, err
	}
	if k.changed() {
		return fault.Is(k.merge(ctx, now), fault.Untrusted), nil
	}
	for _, name := range slices.Sorted(maps.Keys(k.unsaved)) {
		_ = k.Save(name, k.unsaved[name].b) // see Unsaved
	}
	return false, nil
}

// changed reports whether somebody else has written what could not be written here.
func (k *Kept) changed() bool {
	for name, f := range k.unsaved {
		if got := k.onDisk(name); got != f.old && got != sha256.Sum256(f.b) {
			return true
		}
	}
	return false
}

// merge takes what is in memory for a source, and what is in the folder for what is known: all checks of an update decide
// which is the newer. The error is untrusted when it is the folder's.
func (k *Kept) merge(ctx context.Context, now time.Time) error {
	mine := memorySource(k.unsaved)
	k.unsaved = make(map[string]unsaved)
	u, err := New(Config{Anchor: k.anchor, Source: mine, Store: k, Log: k.log, AllowExpired: true}, now)
	if err == nil {
		err = u.Refresh(ctx)
	}
	if err == nil {
		err = u.LoadRoles(ctx, func(role string) bool { _, ok := mine[fileOf(role)]; return ok })
	}
	k.log.Info("somebody else has written to the folder of metadata, and what could not be saved is compared with that",
		slog.String("folder", string(k.dir)), slog.Bool("newer there", fault.Is(err, fault.Untrusted)), slog.Any("err", err))
	return err
}

// memorySource is a source of files that are named as in a store.
type memorySource map[string]unsaved

func (memorySource) String() string { return "memory" }

// Fetch implements Source.
func (s memorySource) Fetch(_ context.Context, name string, _ int64) ([]byte, error) {
	name = strings.TrimPrefix(name, "metadata/")
	if f, ok := s[name]; ok {
		return f.b, nil
	}
	_, role, _ := strings.Cut(name, ".") // a store has one file of a role, whatever its version
	if f, ok := s[role]; ok {
		return f.b, nil
	}
	return nil, notFound(name)
}
