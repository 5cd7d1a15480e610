package depot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

// SyncRequest asks to bring catalogues up to date.
type SyncRequest struct {
	Publishers []string `json:"publishers,omitempty"` // empty: all
}

// SyncResult says what came of each catalogue.
type SyncResult struct {
	Catalogues []Synced `json:"catalogues"`
}

// Synced says what came of one catalogue.
type Synced struct {
	Publisher string    `json:"publisher"`
	Updates   int       `json:"updates"`          // that this depot understands
	Refused   int       `json:"refused"`          // that it does not
	Expires   time.Time `json:"expires,omitzero"` // when the catalogue runs out
	Changed   bool      `json:"changed"`          // devices will see something new
	Failure   *Failure  `json:"error,omitempty"`  // what went wrong; what was there before stands
}

// Err returns what went wrong, the worst first, or nil.
func (r *SyncResult) Err() error {
	var worst error
	for _, c := range r.Catalogues {
		if c.Failure != nil {
			worst = fault.WorstOf(worst, c.Failure.Err())
		}
	}
	return worst
}

// Sync mirrors the catalogues of publishers. What fails for one does not keep the others; each failure stands in the
// result. The error is for what concerns all of them.
func (d *Depot) Sync(ctx context.Context, r SyncRequest, now time.Time, tell func(Progress)) (*SyncResult, error) {
	list, err := d.chosen(r.Publishers)
	if err != nil {
		return nil, err
	}
	lock, err := d.lock(ctx, d.at.workLock(), tell)
	if err != nil {
		return nil, err
	}
	defer lock.Release()
	out := &SyncResult{Catalogues: []Synced{}}
	for _, p := range list {
		tell(Progress{Step: "sync " + p.Name})
		_, s := d.syncOne(ctx, p, now)
		out.Catalogues = append(out.Catalogues, s)
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
	}
	return out, nil
}

func (d *Depot) chosen(names []string) ([]*metadata.Publisher, error) {
	if len(names) == 0 {
		return d.publishers()
	}
	var out []*metadata.Publisher
	for _, name := range names {
		p, err := d.publisher(name)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// syncOne mirrors one catalogue and publishes it. When the publisher does not answer, the catalogue is the last good
// one, beside the failure; after any other failure it is nil. The caller holds the work lock.
func (d *Depot) syncOne(ctx context.Context, p *metadata.Publisher, now time.Time) (*metadata.Catalogue, Synced) {
	s := Synced{Publisher: p.Name}
	cat, err := d.fetchCatalogue(ctx, p, now)
	if err != nil {
		s.Failure = failureOf(fmt.Errorf("sync %s: %w", p.Name, err))
	}
	if cat == nil {
		return nil, s
	}
	s.Updates, s.Refused, s.Expires = len(cat.Targets()), len(cat.Refused()), cat.Expires().UTC()
	if s.Changed, err = publishCatalogue(d.at, p.Name, cat.Files()); err != nil {
		s.Failure = failureOf(fmt.Errorf("sync %s: %w", p.Name, err))
		return nil, s
	}
	if s.Changed {
		d.log.InfoContext(ctx, "mirrored catalogue", slog.String("publisher", p.Name), slog.Int("updates", s.Updates), slog.Time("expires", s.Expires))
	}
	return cat, s
}

// fetchCatalogue asks the publisher. When it does not answer, what this depot serves of it is verified again, and returned
// beside the error.
func (d *Depot) fetchCatalogue(ctx context.Context, p *metadata.Publisher, now time.Time) (*metadata.Catalogue, error) {
	trust, err := d.trustOf(p)
	if err != nil {
		return nil, err
	}
	cat, err := d.mirror(ctx, d.at.mirror(p.Name), trust, now)
	if err == nil || !fault.Is(err, fault.Unavailable) || ctx.Err() != nil {
		return cat, err
	}
	own := *trust
	own.Catalogues = []string{(&url.URL{Scheme: "file", Path: d.at.public(catalogueDir, p.Name)}).String()}
	// It has a memory of its own: an interrupted sync may have seen a newer timestamp than what is served.
	cat, _ = d.mirror(ctx, d.at.served(p.Name), &own, now)
	return cat, err
}

func (d *Depot) mirror(ctx context.Context, dir string, trust *metadata.Trust, now time.Time) (*metadata.Catalogue, error) {
	m, err := metadata.NewMirror(metadata.MirrorConfig{Dir: dir, Trust: trust, Log: d.log})
	if err != nil {
		return nil, err
	}
	return m.Sync(ctx, now)
}

// publishCatalogue puts a publisher's files where devices read them, byte for byte as they were signed: what others name
// first, the timestamp, which makes all of it visible, last. It may be interrupted anywhere and run again.
func publishCatalogue(at folder, publisher string, files metadata.Files) (changed bool, err error) {
	base := at.public(catalogueDir, publisher)
	const timestamp = "metadata/" + timestampFile
	if _, ok := files[timestamp]; !ok {
		return false, errors.New("publish catalogue: it has no timestamp")
	}
	if err := makePublicDir(at.public(), filepath.Join(base, "metadata")); err != nil {
		return false, err
	}
	names := slices.Sorted(maps.Keys(files))
	names = slices.DeleteFunc(names, func(n string) bool { return n == timestamp })
	for _, name := range append(names, timestamp) {
		if _, ok := parseSecure("/" + catalogueDir + "/" + publisher + "/" + name); !ok {
			return false, fault.New(fault.Refused, "publish catalogue: %.80q is no file that devices ask for", name)
		}
		wrote, err := publish(filepath.Join(base, filepath.FromSlash(name)), files[name])
		if err != nil {
			return false, fmt.Errorf("publish catalogue: %w", err)
		}
		changed = changed || wrote
	}
	return changed, prune(filepath.Join(base, "metadata"), files)
}

// keepVersions is how many versions behind the current one of a role stay, for devices in the middle of a sync.
const keepVersions = 10

// prune removes versions that nobody can still be in the middle of fetching. Roots stay: a device may come from any.
func prune(dir string, files metadata.Files) error {
	current := map[string]int64{}
	for name := range files {
		if v, role, ok := versionOf(strings.TrimPrefix(name, "metadata/")); ok {
			current[role] = max(v, current[role])
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("clean public folder: %w", err)
	}
	for _, e := range entries {
		v, role, ok := versionOf(e.Name())
		old := ok && role != "root" && v < current[role]-keepVersions
		if left, _ := filepath.Match(durable.TempPattern, e.Name()); !old && !left {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("clean public folder: %w", err)
		}
	}
	return nil
}

func versionOf(name string) (version int64, role string, ok bool) {
	if !isVersionedRole(name) {
		return 0, "", false
	}
	number, rest, _ := strings.Cut(name, ".")
	version, err := strconv.ParseInt(number, 10, 64)
	return version, strings.TrimSuffix(rest, ".json"), err == nil
}
