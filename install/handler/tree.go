package handler

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/dunlin-project/dunlin/install"
	"github.com/dunlin-project/dunlin/install/internal/disk"
	"github.com/dunlin-project/dunlin/internal/archive"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

// Tree installs an archive (tar, tar.gz, tar.zst, zip) as a folder. The destination is a symlink; what it leads to lies
// beside it:
//
//	/opt/app          -> app.versions/2.1-0123456789abcdef
//	/opt/app.versions/2.1-0123456789abcdef/...
//	/opt/app.versions/2.0-fedcba9876543210/...    the one before, kept
//
// The symlink is switched in one step. Who has the old folder open keeps it until the update after the next.
type Tree struct{}

const (
	versionsSuffix = metadata.VersionsSuffix
	hashDigits     = 16  // of the payload's hash in a version's name
	maxSameName    = 100 // versions of one name, before something must be wrong
)

// Apply implements install.Handler.
func (Tree) Apply(ctx context.Context, v *install.Verified, t *install.Transaction) (install.Outcome, error) {
	p, err := t.Open(v.Update().Destination)
	if err != nil {
		return install.Outcome{}, err
	}
	s, err := survey(p, v)
	if err != nil {
		return install.Outcome{}, err
	}
	if err := p.Begin(s.made); err != nil {
		return install.Outcome{}, err
	}
	if err := unpack(ctx, p, v); err != nil {
		return install.Outcome{}, err
	}
	if err := s.place(p); err != nil {
		return install.Outcome{}, wrap("place folder", err)
	}
	return install.Outcome{Evidence: s.next}, wrap("switch", p.Switch(s.drop...))
}

// versions is what lies at the destination, and what will. Paths are below the place.
type versions struct {
	folder string   // of all versions
	next   string   // the new version
	made   string   // what the new version adds: itself, or all of folder
	drop   []string // versions that are not needed any more when the new one holds
}

func survey(p *install.Place, v *install.Verified) (*versions, error) {
	s := &versions{folder: p.Name + versionsSuffix}
	current, err := currentVersion(p, s.folder)
	if err != nil {
		return nil, err
	}
	there, err := listVersions(p, s.folder)
	if err != nil {
		return nil, err
	}
	name := v.Update().Version + "-" + v.SHA256().String()[:hashDigits]
	if s.next, err = freeName(s.folder, name, there); err != nil {
		return nil, err
	}
	s.made = s.next
	if there == nil {
		s.made = s.folder
	}
	for _, old := range there {
		if old := path.Join(s.folder, old); old != current {
			s.drop = append(s.drop, old)
		}
	}
	return s, nil
}

// currentVersion reads the symlink at the destination. Anything else there belongs to somebody.
func currentVersion(p *install.Place, folder string) (string, error) {
	info, err := p.Lstat(p.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if info.Mode().Type() == fs.ModeSymlink {
		target, err := p.Readlink(p.Name)
		if err != nil || path.Dir(target) == folder {
			return target, err
		}
	}
	return "", fault.WithHint(
		fault.New(fault.Install, "%s is there already and was not made by this handler", p.Path),
		"move it away, then try again")
}

// listVersions returns the names in the folder of versions, nil when there is no such folder.
func listVersions(p *install.Place, folder string) ([]string, error) {
	info, err := p.Lstat(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is no folder", folder)
	}
	if err != nil {
		return nil, fault.Wrap(fault.Install, err)
	}
	entries, err := fs.ReadDir(p.FS(), folder)
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// freeName keeps a version that is installed again apart from what is left of it.
func freeName(folder, name string, taken []string) (string, error) {
	used := map[string]bool{}
	for _, t := range taken {
		used[t] = true
	}
	for n := 1; n <= maxSameName; n++ {
		candidate := name
		if n > 1 {
			candidate = fmt.Sprintf("%s.%d", name, n)
		}
		if !used[candidate] {
			return path.Join(folder, candidate), nil
		}
	}
	return "", fault.New(fault.Install, "%s holds %d folders of version %s", folder, maxSameName, name)
}

// unpack fills the work folder, which nobody else can enter, and sees to it that all of it is on the disk.
func unpack(ctx context.Context, p *install.Place, v *install.Verified) error {
	own, err := parseOwner(v.Update().Owner)
	if err != nil {
		return err
	}
	o := archive.Options{Bytes: v.Update().Uncompressed}
	if own.set {
		o.Owner = &archive.Owner{UID: own.uid, GID: own.gid}
	}
	if err := p.Mkdir(p.Work, 0o700); err != nil {
		return err
	}
	dir, err := p.OpenRoot(p.Work)
	if err != nil {
		return err
	}
	defer dir.Close()
	if _, err := archive.Unpack(ctx, dir, v.Content(ctx), o); err != nil {
		return wrap("unpack", err)
	}
	return wrap("unpack", disk.SyncTree(dir))
}

// place gives the new version its name and makes the symlink that will lead to it.
func (s *versions) place(p *install.Place) error {
	if _, err := disk.MkdirAll(p.Root, s.folder); err != nil {
		return err
	}
	if err := p.Rename(p.Work, s.next); err != nil {
		return err
	}
	dir, err := p.OpenRoot(s.folder)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := disk.SyncDir(dir); err != nil {
		return err
	}
	return p.Symlink(s.next, p.New)
}

// Installed implements install.Handler.
func (Tree) Installed(_ context.Context, r *install.Record) (bool, error) {
	target, err := os.Readlink(r.Destination)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil: // something else lies there
		if _, e := os.Lstat(r.Destination); e != nil {
			return false, wrap("look at tree", err)
		}
		return false, nil
	}
	if target != r.Evidence || !strings.Contains(target, versionsSuffix+"/") {
		return false, nil
	}
	info, err := os.Lstat(filepath.Join(filepath.Dir(r.Destination), target))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && info.IsDir(), wrap("look at tree", err)
}
