package room

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store"
)

const (
	saveEvery   = time.Minute      // between two notes of what was used
	surveyEvery = 10 * time.Minute // between two looks at the folder
)

// ErrInUse is the error of a Config.Remove whose content must stay for now.
var ErrInUse = errors.New("content is in use")

// Config is what a Keeper is made of.
type Config struct {
	Store  *store.Store // required
	Limits Limits
	// Busy reports whether content is in use, so that it stays for now. Nil: none is.
	Busy func(root piecehash.Root) bool
	// Remove deletes content, and returns ErrInUse for what is in use since Busy was asked. Nil: Store.Remove.
	Remove func(root piecehash.Root) error
	Log    *slog.Logger // nil: silent
}

// Keeper keeps one store within its limits. It is safe for concurrent use. New makes it, Run gives it life.
type Keeper struct {
	cfg      Config
	log      *slog.Logger
	surveyed chan struct{} // closed after the first look
	once     sync.Once
	making   sync.Mutex // one at a time deletes or looks

	mu      sync.Mutex // guards the rest; no I/O under it
	all     map[piecehash.Root]held
	sum     int64                   // of Entry.Bytes
	used    map[piecehash.Root]uses // since they were last noted
	pinned  map[piecehash.Root]bool // as the folder had it
	disk    store.Disk              // likewise
	removed Removed                 // by this Keeper
	trouble trouble
}

// held is a store.Entry that takes less memory: a store may have hundreds of thousands.
type held struct {
	length, bytes int64
	usedAt, worth int64 // nanoseconds since 1970
	whole         bool
}

func hold(e store.Entry) held {
	return held{e.Length, e.Bytes, e.Used.UnixNano(), e.Worth.UnixNano(), e.Whole}
}

func (h held) used() time.Time { return time.Unix(0, h.usedAt) }

func (h held) entry(root piecehash.Root) store.Entry {
	if h == (held{}) {
		return store.Entry{}
	}
	return store.Entry{Root: root, Whole: h.whole, Length: h.length, Bytes: h.bytes, Used: h.used(), Worth: time.Unix(0, h.worth)}
}

// uses is what was given away of a content.
type uses struct {
	bytes int64
	last  time.Time
}

// Removed counts what was deleted to make room.
type Removed struct{ Contents, Bytes int64 }

// New returns a Keeper that has not looked at the store yet.
func New(cfg Config) *Keeper {
	if cfg.Remove == nil {
		cfg.Remove = cfg.Store.Remove
	}
	if cfg.Busy == nil {
		cfg.Busy = func(piecehash.Root) bool { return false }
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Keeper{
		cfg: cfg, log: cfg.Log, surveyed: make(chan struct{}),
		all: make(map[piecehash.Root]held), used: make(map[piecehash.Root]uses),
	}
}

// Run looks at the store, and keeps it within its limits until ctx ends. What was used is noted then, too.
func (k *Keeper) Run(ctx context.Context) {
	k.Survey()
	k.Tidy()
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	looked := time.Now()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			k.Save()
			return
		}
		k.Save()
		if time.Since(looked) >= surveyEvery {
			k.Survey()
			looked = time.Now()
		}
		k.Tidy()
	}
}

// Surveyed is closed when the first look at the store is over.
func (k *Keeper) Surveyed() <-chan struct{} { return k.surveyed }

// Survey looks at what the folder has: other processes may have brought or taken something.
func (k *Keeper) Survey() {
	k.making.Lock()
	defer k.making.Unlock()
	defer k.once.Do(func() { close(k.surveyed) })
	k.mu.Lock()
	all, sum, now := make(map[piecehash.Root]held, len(k.all)), int64(0), time.Now()
	k.mu.Unlock()
	err := k.cfg.Store.Each(func(e store.Entry) {
		sum += e.Bytes
		if old, twice := all[e.Root]; twice {
			e = e.Join(old.entry(e.Root))
		}
		all[e.Root] = hold(sane(e, now))
	})
	if err != nil {
		_ = k.Failed(err)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all, k.sum = all, sum
}

// look refreshes what may have changed in the meantime: what is pinned, and the disk.
func (k *Keeper) look() error {
	pinned, err := k.cfg.Store.Pinned()
	disk, diskErr := k.cfg.Store.Disk()
	if err = errors.Join(err, diskErr); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pinned, k.disk = pinned, disk
	return nil
}

// Use says that so many bytes of content were given away.
func (k *Keeper) Use(root piecehash.Root, bytes int64) {
	if bytes <= 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.used[root] = uses{k.used[root].bytes + bytes, time.Now()}
}

// Save notes what was used since the last time.
func (k *Keeper) Save() {
	k.mu.Lock()
	used := k.used
	k.used = make(map[piecehash.Root]uses)
	var changed []store.Entry
	for root, u := range used {
		if h, there := k.all[root]; there {
			e := after(h.entry(root), u)
			k.all[root] = hold(e)
			changed = append(changed, e)
		}
	}
	k.mu.Unlock()
	for _, e := range changed {
		if !e.Whole {
			continue // its times are those of its writing
		}
		if err := k.cfg.Store.Note(e.Root, e.Used, e.Worth); err != nil {
			_ = k.Failed(err)
			return // the others would fail as well; they are in memory until the next survey
		}
	}
}

// Stored says that content has come, whole, at this moment.
func (k *Keeper) Stored(c piecehash.Content) {
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.put(store.Entry{Root: c.Root(), Whole: true, Length: c.Length(), Bytes: onDisk(c), Used: now, Worth: now})
	if u := k.used[c.Root()]; u.last.IsZero() {
		k.used[c.Root()] = uses{0, now} // so that the time is noted
	}
	k.trouble.stored()
}

// Refresh looks at one content: something has happened to it that did not end as it should.
func (k *Keeper) Refresh(root piecehash.Root) {
	e, there := k.cfg.Store.Look(root)
	if !there {
		k.Gone(root)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.put(sane(e, time.Now()))
}

// put replaces an entry. k.mu is held.
func (k *Keeper) put(e store.Entry) {
	k.sum += e.Bytes - k.all[e.Root].bytes
	k.all[e.Root] = hold(e)
}

// Gone says that content is not there any more.
func (k *Keeper) Gone(root piecehash.Root) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sum -= k.all[root].bytes
	delete(k.all, root)
	delete(k.used, root)
}

// onDisk is about what content and its record take.
func onDisk(c piecehash.Content) int64 {
	const block = 4 << 10
	return (c.Length()+block-1)/block*block + (c.LayerSize()+2*block-1)/block*block
}

// Need makes room for content that is about to be fetched, by deleting what is less useful. Content that cannot have room,
// whatever goes, is fault.Unavailable and syscall.ENOSPC; then nothing goes for its sake.
func (k *Keeper) Need(ctx context.Context, c piecehash.Content) error {
	select {
	case <-k.surveyed:
	case <-ctx.Done():
		return fault.Wrap(fault.Unavailable, ctx.Err())
	}
	k.making.Lock()
	defer k.making.Unlock()
	if err := k.look(); err != nil {
		return k.Failed(err)
	}
	k.mu.Lock()
	old := k.all[c.Root()].entry(c.Root())
	need := max(onDisk(c)-old.Bytes, 0)
	k.mu.Unlock()
	short := k.shrink(need, c.Root())
	if short > 0 {
		return k.failed(need, fault.WithHint(
			fault.New(fault.Unavailable, "make room for content %v: of %d bytes %d are too many: %w", c.Root(), onDisk(c), short, syscall.ENOSPC),
			"raise the limit, unpin or remove something, or free some space on that disk"))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !old.Whole {
		now := time.Now()
		k.put(store.Entry{Root: c.Root(), Length: c.Length(), Bytes: max(onDisk(c), old.Bytes), Used: now, Worth: now})
	}
	return nil
}

// Tidy deletes what is too old or too much.
func (k *Keeper) Tidy() {
	k.making.Lock()
	defer k.making.Unlock()
	if err := k.look(); err != nil {
		_ = k.Failed(err)
		return
	}
	if short := k.shrink(0, piecehash.Root{}); short > 0 {
		_ = k.failed(0, fmt.Errorf("keep the limits of the store: %d bytes are too many and may not go: %w", short, syscall.ENOSPC))
		return
	}
	k.mu.Lock()
	wanted, full := k.trouble.wanted, k.trouble.word == Full
	k.mu.Unlock()
	x := Excess{}
	if full {
		x = k.excess(wanted, piecehash.Root{})
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if was := k.trouble.pass(time.Now(), full && x.Over <= sum(x.Next)); was != Fine {
		k.log.Info("content can be stored again", slog.String("was", string(was)))
	}
}

// shrink deletes until need bytes more fit, and returns how many still do not. When even all that may go were not enough,
// only what the limits want gone goes. k.making is held.
func (k *Keeper) shrink(need int64, spare piecehash.Root) (short int64) {
	x := k.excess(need, spare)
	for _, e := range x.Aged {
		if k.remove(e, "nobody has used it for long") != nil {
			x.Over += e.Bytes
		}
	}
	if x.Over > sum(x.Next) && need > 0 {
		short, x.Over = x.Over-sum(x.Next), x.Over-need
	}
	for _, e := range x.Next {
		if x.Over <= 0 {
			break
		}
		if k.remove(e, "there is no room for all, and it is the least useful") == nil {
			x.Over -= e.Bytes
		}
	}
	return max(short, x.Over)
}

func sum(entries []store.Entry) (n int64) {
	for _, e := range entries {
		n += e.Bytes
	}
	return n
}

// excess asks what has to go. Where that is nothing, it does not even list what there is.
func (k *Keeper) excess(need int64, spare piecehash.Root) Excess {
	now, l := time.Now(), k.cfg.Limits
	k.mu.Lock()
	pinned, disk := k.pinned, k.disk
	over := need + max(k.sum-l.most(disk), l.Free-disk.Free)
	aged := false
	if l.Age > 0 {
		for _, h := range k.all {
			aged = aged || now.Sub(h.used()) > l.Age
		}
	}
	if over <= 0 && !aged {
		k.mu.Unlock()
		return Excess{Over: over}
	}
	all := make([]store.Entry, 0, len(k.all))
	for root, h := range k.all {
		e := h.entry(root)
		if u, ok := k.used[root]; ok {
			e = after(e, u)
		}
		all = append(all, e)
	}
	k.mu.Unlock()
	kept := func(e store.Entry) bool { return e.Root == spare || pinned[e.Root] || k.cfg.Busy(e.Root) }
	return Find(all, l, disk, need, kept, now)
}

// after is the entry when it has been used.
func after(e store.Entry, u uses) store.Entry {
	e.Used = u.last
	e.Worth = worthAfter(e.Worth, u.last, float64(u.bytes)/float64(max(e.Length, 1)))
	return e
}

// remove deletes one content. What is in use, or fetched by another process, stays.
func (k *Keeper) remove(e store.Entry, why string) error {
	if err := k.cfg.Remove(e.Root); err != nil {
		if !errors.Is(err, ErrInUse) && !fault.Is(err, fault.Unavailable) {
			k.log.Warn("content cannot be deleted", slog.Any("root", e.Root), slog.Any("err", err))
		}
		return err
	}
	k.log.Info("content deleted", slog.Any("root", e.Root), slog.Int64("bytes", e.Bytes), slog.Time("used", e.Used), slog.String("why", why))
	k.Gone(e.Root)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.removed.Contents++
	k.removed.Bytes += e.Bytes
	return nil
}

// Best returns up to n of the whole contents, the most useful first.
func (k *Keeper) Best(n int) []piecehash.Root {
	k.mu.Lock()
	all := make([]store.Entry, 0, len(k.all))
	for root, h := range k.all {
		if h.whole {
			all = append(all, h.entry(root))
		}
	}
	k.mu.Unlock()
	Useful(all)
	out := make([]piecehash.Root, 0, min(n, len(all)))
	for _, e := range all[:min(n, len(all))] {
		out = append(out, e.Root)
	}
	return out
}
