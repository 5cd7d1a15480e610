package install

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/dunlin-project/dunlin/install/internal/sealed"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/piecehash"
)

const (
	floorFormat  = "dunlin-floor/1"
	maxFloorSize = 16 << 20 // bytes
	maxFloors    = 1 << 16  // updates
)

// floors is how far down this device may not go. It is kept in two files, one written after the other, so that no single
// bad sector loses it.
type floors struct {
	Sequence int64 `json:"sequence"` // of two good copies the higher is newer
	// Lost says that both copies were damaged once: then what is not among Entries may have been installed all the same.
	Lost    bool         `json:"lost,omitempty"`
	Entries []floorEntry `json:"entries"` // sorted, one for each update
}

// floorEntry is the highest release of an update that was ever installed here.
type floorEntry struct {
	Publisher string         `json:"publisher"`
	ID        string         `json:"id"`
	Release   int64          `json:"release"`
	SHA256    piecehash.Hash `json:"sha256"`
	Lowest    int64          `json:"lowest"` // how far down that release lets one go; 0: not at all
}

func (e floorEntry) key() metadata.Key { return metadata.Key{Publisher: e.Publisher, ID: e.ID} }

func compareFloors(a, b floorEntry) int {
	return cmp.Or(cmp.Compare(a.Publisher, b.Publisher), cmp.Compare(a.ID, b.ID))
}

func (f *floors) get(k metadata.Key) (floorEntry, bool) {
	i, ok := slices.BinarySearchFunc(f.Entries, floorEntry{Publisher: k.Publisher, ID: k.ID}, compareFloors)
	if !ok {
		return floorEntry{}, false
	}
	return f.Entries[i], true
}

// raise enters a release, if it is higher than what is there.
func (f *floors) raise(e floorEntry) {
	i, ok := slices.BinarySearchFunc(f.Entries, e, compareFloors)
	switch {
	case !ok:
		f.Entries = slices.Insert(f.Entries, i, e)
	case e.Release >= f.Entries[i].Release:
		f.Entries[i] = e
	}
}

func (f *floors) encode() ([]byte, error) {
	b, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encode floor: %w", err)
	}
	return sealed.Encode(floorFormat, b), nil
}

// decodeFloors reads what encode wrote.
func decodeFloors(file []byte) (*floors, error) {
	body, err := sealed.Decode(floorFormat, file)
	if err != nil {
		return nil, err
	}
	return parseFloors(body)
}

func parseFloors(body []byte) (*floors, error) {
	f := new(floors)
	if err := unmarshal(body, f); err != nil {
		return nil, fmt.Errorf("read floor: %w", err)
	}
	sorted := slices.IsSortedFunc(f.Entries, compareFloors)
	if !sorted || len(f.Entries) > maxFloors || f.Sequence < 0 {
		return nil, fmt.Errorf("read floor: %w", sealed.ErrDamaged)
	}
	for n, e := range f.Entries {
		twice := n > 0 && compareFloors(f.Entries[n-1], e) == 0
		sound := metadata.CheckPublisher(e.Publisher) == nil && metadata.CheckID(e.ID) == nil
		if twice || !sound || e.Release < 1 || e.Lowest < 0 {
			return nil, fmt.Errorf("read floor: %w", sealed.ErrDamaged)
		}
	}
	return f, nil
}

// floorFiles are the names of the two copies, in the order in which they are replaced.
func floorFiles() [2]string { return [2]string{"floor.a", "floor.b"} }

// beginFloor writes the floor of a new device, unless there is one.
func (f folder) beginFloor() error {
	b, err := (&floors{Entries: []floorEntry{}}).encode()
	if err != nil {
		return err
	}
	for _, name := range floorFiles() {
		if _, err := os.Lstat(f.join(name)); errors.Is(err, fs.ErrNotExist) {
			if err := writePrivate(f.join(name), b); err != nil {
				return err
			}
		}
	}
	return nil
}

// floor reads the newer good copy. When there is none, what the inventory knows is all that is left, and Lost says so.
func (i *Installer) floor() (*floors, error) {
	var newest *floors
	for _, name := range floorFiles() {
		f, err := readFloor(filepath.Join(i.cfg.Dir, name))
		switch {
		case errors.Is(err, sealed.ErrDamaged), errors.Is(err, fs.ErrNotExist):
			i.cfg.Log.Warn("a copy of the version floor is lost", "file", name, "err", err)
		case err != nil:
			return nil, fmt.Errorf("read version floor: %w", err)
		case newest == nil || f.Sequence > newest.Sequence:
			newest = f
		}
	}
	if newest != nil {
		return newest, nil
	}
	return i.rebuildFloor()
}

func readFloor(path string) (*floors, error) {
	body, err := sealed.Read(path, floorFormat, maxFloorSize)
	if err != nil {
		return nil, err
	}
	return parseFloors(body)
}

func (i *Installer) rebuildFloor() (*floors, error) {
	records, err := i.records()
	if err != nil {
		return nil, err
	}
	f := &floors{Lost: true, Entries: []floorEntry{}}
	for _, r := range records {
		f.raise(r.Floor)
	}
	return f, nil
}

// admit refuses what lies below the floor.
func (i *Installer) admit(view *metadata.View, offer metadata.Offer) error {
	f, err := i.floor()
	if err != nil {
		return err
	}
	newest := newestRelease(view, offer)
	entry, known := f.get(offer.Key())
	if !known && f.Lost {
		return admitUnknown(offer.Update(), newest)
	}
	if !known {
		return nil
	}
	return admitAbove(offer, entry, newest)
}

// admitUnknown decides when nobody can say what was installed here. The newest release cannot be a step back, and it can
// always be had, so the device heals.
func admitUnknown(u, newest *metadata.Update) error {
	if u.Release >= newest.Release {
		return nil
	}
	return fault.WithHint(
		fault.New(fault.Refused, "install %s %s: the version floor of this device is lost, and release %d is not the newest of the catalogue, which is %d",
			u.ID, u.Version, u.Release, newest.Release),
		"approve %s %s: after it the floor is known again", newest.ID, newest.Version)
}

func admitAbove(offer metadata.Offer, floor floorEntry, newest *metadata.Update) error {
	u := offer.Update()
	switch {
	case u.Release > floor.Release:
		return nil
	case u.Release == floor.Release && offer.Target().SHA256 == floor.SHA256:
		return nil
	case u.Release == floor.Release:
		return fault.WithHint(
			fault.New(fault.Refused, "install %s %s: release %d was installed here with another content", u.ID, u.Version, u.Release),
			"the publisher must give every new content a higher release")
	case !offer.Approval().Downgrade:
		return fault.WithHint(
			fault.New(fault.Refused, "install %s %s: release %d is below %d, which was installed here, and the approval does not say that it may be", u.ID, u.Version, u.Release, floor.Release),
			"approve it as a downgrade, if the publisher allows one")
	}
	// The newest release has the last word: what it forbids, an older one cannot allow. The record kept at the
	// installation speaks when that release is gone from the catalogue.
	lowest := floor.Lowest
	if newest.Release >= floor.Release {
		lowest = newest.LowestDowngrade
	}
	if lowest > 0 && u.Release >= lowest {
		return nil
	}
	return fault.WithHint(
		fault.New(fault.Refused, "install %s %s: release %d is below %d, which was installed here, and the publisher does not allow it (lowest downgrade %d)",
			u.ID, u.Version, u.Release, floor.Release, lowest),
		"the publisher can allow it with the lowest downgrade of its newest release")
}

// newestRelease returns the highest release of the offered update that its catalogue has.
func newestRelease(view *metadata.View, offer metadata.Offer) *metadata.Update {
	newest := offer.Update()
	catalogue, ok := view.Catalogue(offer.Key().Publisher)
	if !ok {
		return newest
	}
	for _, t := range catalogue.Targets() {
		if t.Update.ID == newest.ID && t.Update.Release > newest.Release {
			newest = t.Update
		}
	}
	return newest
}
