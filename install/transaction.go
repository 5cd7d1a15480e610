package install

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/dunlin-project/dunlin/install/internal/sealed"
	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/metadata"
)

// A transaction is a folder. It is "begun" while it can be taken back; renaming it to "decided" is the moment from which
// on it will be finished. Everything that needs space on the disk is written into it before, so that a full disk can only
// ever lead back.
//
//	journal           what is about to change, so that a crash can be undone
//	bundle            the signed bytes that the installation is decided on
//	record            the entry of the inventory
//	floor.a floor.b   the version floor as it will be
const (
	journalFile    = "journal"
	keptBundleFile = "bundle"
	keptRecordFile = "record"

	journalFormat  = "dunlin-journal/1"
	maxJournalSize = 1 << 20 // bytes
)

// journal says what a transaction is about and what it changes.
type journal struct {
	Publisher string  `json:"publisher"`
	ID        string  `json:"id"`
	Version   string  `json:"version"`
	Handler   string  `json:"handler"`
	Change    *change `json:"change,omitempty"` // nil: nothing yet, or nothing that can be taken back
}

func (j *journal) key() metadata.Key { return metadata.Key{Publisher: j.Publisher, ID: j.ID} }

func parseJournal(body []byte) (*journal, error) {
	j := new(journal)
	if err := unmarshal(body, j); err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	if err := j.Change.check(); err != nil {
		return nil, fmt.Errorf("read journal: %w: %w", sealed.ErrDamaged, err)
	}
	return j, nil
}

func readJournal(dir string) (*journal, error) {
	body, err := sealed.Read(filepath.Join(dir, journalFile), journalFormat, maxJournalSize)
	if err != nil {
		return nil, err
	}
	return parseJournal(body)
}

// Transaction is one installation under way. A handler changes what others can see through it alone. One goroutine uses
// it.
type Transaction struct {
	i       *Installer
	v       *Verified
	dir     string
	journal journal
	place   *Place
}

// begin makes the folder of a transaction, with what does not depend on how it goes.
func (i *Installer) begin(v *Verified) (*Transaction, error) {
	u := v.Update()
	t := &Transaction{i: i, v: v, dir: i.folder.begun(), journal: journal{
		Publisher: u.Publisher, ID: u.ID, Version: u.Version, Handler: u.Handler,
	}}
	packed, err := packBundle(v.bundle, u.Publisher)
	if err != nil {
		return nil, err
	}
	err = durable.MkdirPrivate(filepath.Dir(i.folder.recordFile(v.offer.Key())))
	if err == nil {
		err = durable.MkdirPrivate(t.dir)
	}
	if err == nil {
		err = writePrivate(filepath.Join(t.dir, keptBundleFile), packed)
	}
	if err == nil {
		err = t.note()
	}
	return t, err
}

// note makes the journal durable. Nothing that it speaks about may happen before.
func (t *Transaction) note() error {
	b, err := json.Marshal(t.journal)
	if err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	if err := sealed.Write(filepath.Join(t.dir, journalFile), journalFormat, b); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	t.i.cfg.Probe("noted")
	return nil
}

// Place is where an update goes: the folder of its destination, held open, and the names in it that are the
// transaction's. Nothing else in the folder may be touched.
type Place struct {
	*os.Root        // the folder
	Path     string // of Name, on this machine
	Name     string // the entry that others see
	New      string // what will be under Name; made by the handler, as a file or a symlink
	Work     string // the handler's own, for what it needs on the way; gone afterwards

	t *Transaction
}

// Open takes hold of the folder of destination. Folders that are missing are made (0755). No symlink below the prefix
// that the organisation allows can lead out of it.
func (t *Transaction) Open(destination string) (*Place, error) {
	prefix, ok := allowedPrefix(t.v.offer.Publisher().Destinations, destination)
	if !ok {
		return nil, fmt.Errorf("open %s: it is not allowed", destination)
	}
	c := newChange(t.i.cfg.Root, prefix, destination)
	if err := c.makeFolder(); err != nil {
		return nil, err
	}
	root, err := c.open()
	if err != nil {
		return nil, err
	}
	t.journal.Change = c
	t.place = &Place{Root: root, Path: c.path(), Name: c.Name, New: c.New, Work: c.Work, t: t}
	return t.place, nil
}

// Begin notes what is going to be made, before it is: New, Work, and the folders of the new state that are named here, by
// slash-separated paths below the place. If the transaction is taken back, all of them are removed.
func (p *Place) Begin(made ...string) error {
	p.t.journal.Change.Made = made
	return p.t.note()
}

// Switch puts New under Name, in one step, and keeps what was there. What is named by drop, paths below the place, is
// removed when the update holds.
func (p *Place) Switch(drop ...string) error {
	t := p.t
	if !t.v.payload.intact() {
		return errors.New("somebody has opened the payload for writing since it was checked")
	}
	c := t.journal.Change
	c.Drop = drop
	if err := c.prepare(p.Root); err != nil {
		return err
	}
	if err := t.note(); err != nil {
		return err
	}
	return c.switchOver(p.Root, t.i.cfg.Probe)
}

// close lets go of the place.
func (t *Transaction) close() {
	if t.place != nil {
		t.place.Root.Close()
	}
}

// leftovers are the files of a transaction in the order in which they may go: the journal is last, because it is what the
// rest is understood by.
func leftovers() []string {
	floor := floorFiles()
	return []string{keptBundleFile, keptRecordFile, floor[0], floor[1], journalFile}
}

// removeTransaction takes away a folder whose content has been dealt with. Unfinished files of a crash go first.
func removeTransaction(dir string) error {
	stray, err := filepath.Glob(filepath.Join(dir, durable.TempPattern))
	if err != nil {
		return err
	}
	for _, file := range stray {
		err = errors.Join(err, os.Remove(file))
	}
	for _, name := range leftovers() {
		if e := os.Remove(path.Join(dir, name)); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return errors.Join(err, durable.Remove(dir))
}
