package cachenode

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dunlin-project/dunlin/cachenode/urlcache"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

const (
	metainfoSuffix = ".torrent"
	// MaxFolderFiles is how many metainfo files of a folder are read; those after them, by name, are not.
	MaxFolderFiles = 4096
)

// Folder is a Catalogue of the metainfo files (*.torrent) in a folder. Files that come, change or go are noticed by Refresh.
// Only somebody who may decide what this node fetches, and from where, may write to the folder.
type Folder struct {
	dir string
	log *slog.Logger

	refreshing sync.Mutex          // guards files
	files      map[string]metaFile // by name

	mu    sync.Mutex // guards the rest
	items map[piecehash.Root]*Item
	urls  map[string]piecehash.Root // by origin, as urlcache.Canonical has it
}

// metaFile is what was read of a file, and of which state of it.
type metaFile struct {
	size  int64
	mtime time.Time
	item  *Item // nil: the file is no good
}

// OpenFolder reads the metainfo files of a folder. One that cannot be used is left out with a warning.
func OpenFolder(dir string, log *slog.Logger) (*Folder, error) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, fault.New(fault.Usage, "open folder of metainfo files: %s is no folder", dir)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f := &Folder{dir: dir, log: log, files: make(map[string]metaFile)}
	f.Refresh(context.Background())
	return f, nil
}

// Find implements Catalogue.
func (f *Folder) Find(root piecehash.Root) (*Item, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if item := f.items[root]; item != nil {
		return item, nil
	}
	return nil, ErrUnknown
}

// Refresh implements Catalogue. A folder that cannot be read leaves what is known as it was.
func (f *Folder) Refresh(ctx context.Context) []piecehash.Root {
	f.refreshing.Lock()
	defer f.refreshing.Unlock()
	names, err := f.list()
	if err != nil {
		f.log.WarnContext(ctx, "the folder of metainfo files cannot be read", slog.Any("err", err))
		return f.roots()
	}
	files := make(map[string]metaFile, len(names))
	items := make(map[piecehash.Root]*Item)
	for _, e := range names {
		if ctx.Err() != nil {
			return f.roots()
		}
		m, ok := f.look(e)
		if !ok {
			continue
		}
		files[e.Name()] = m
		if m.item != nil {
			merge(items, m.item)
		}
	}
	f.files = files
	urls := originsOf(items)
	f.mu.Lock()
	f.items, f.urls = items, urls
	f.mu.Unlock()
	return f.roots()
}

// FindOrigin returns the content that has an origin at a URL, which is in the form of urlcache.Canonical.
func (f *Folder) FindOrigin(url string) (root piecehash.Root, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	root, ok = f.urls[url]
	return root, ok
}

// originsOf is where items can be had. Of a URL that several name, none is meant: one of them is not there any more.
func originsOf(items map[piecehash.Root]*Item) map[string]piecehash.Root {
	out, twice := make(map[string]piecehash.Root), make(map[string]bool)
	for root, item := range items {
		for _, raw := range item.Origins {
			url, ok := urlcache.Canonical(raw)
			if other, known := out[url]; known && other != root {
				twice[url] = true
			}
			if ok {
				out[url] = root
			}
		}
	}
	for url := range twice {
		delete(out, url)
	}
	return out
}

func (f *Folder) roots() []piecehash.Root {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.SortedFunc(maps.Keys(f.items), func(a, b piecehash.Root) int { return strings.Compare(f.items[a].Name, f.items[b].Name) })
}

// list returns the metainfo files by name.
func (f *Folder) list() ([]fs.DirEntry, error) {
	all, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(e fs.DirEntry) bool { return filepath.Ext(e.Name()) != metainfoSuffix })
	if len(all) > MaxFolderFiles {
		f.log.Warn("too many metainfo files: the last are not read", slog.Int("files", len(all)), slog.Int("most", MaxFolderFiles))
		all = all[:MaxFolderFiles]
	}
	return all, nil
}

// look reads a file, unless it is as it was.
func (f *Folder) look(e fs.DirEntry) (metaFile, bool) {
	path := filepath.Join(f.dir, e.Name())
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return metaFile{}, false
	}
	old, known := f.files[e.Name()]
	if known && old.size == info.Size() && old.mtime.Equal(info.ModTime()) {
		return old, true
	}
	m := metaFile{size: info.Size(), mtime: info.ModTime()}
	if m.item, err = readItem(path); err != nil {
		f.log.Warn("a metainfo file is left out", slog.String("file", path), slog.Any("err", err))
	}
	return m, true
}

// merge adds an item. Of content that stands in several files all origins are used, those of the first file first.
func merge(items map[piecehash.Root]*Item, item *Item) {
	root := item.Manifest.Root()
	first := items[root]
	if first == nil {
		items[root] = item
		return
	}
	both := *first
	for _, u := range item.Origins {
		if len(both.Origins) < piecehash.MaxURLs && !slices.Contains(both.Origins, u) {
			both.Origins = append(slices.Clip(both.Origins), u)
		}
	}
	if len(both.Hints) == 0 {
		both.Hints = item.Hints
	}
	items[root] = &both
}

func readItem(path string) (*Item, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, piecehash.MaxMetainfoSize+1))
	if err == nil && len(b) > piecehash.MaxMetainfoSize {
		err = fmt.Errorf("more than %d bytes", piecehash.MaxMetainfoSize)
	}
	if err != nil {
		return nil, err
	}
	m, err := piecehash.ParseMetainfo(b)
	if err != nil {
		return nil, err
	}
	return &Item{Manifest: m.Manifest, Name: m.Name, Origins: m.Origins()}, nil
}

// One is a Catalogue of one content.
type One struct{ Item *Item }

// Find implements Catalogue.
func (o One) Find(root piecehash.Root) (*Item, error) {
	if root != o.Item.Manifest.Root() {
		return nil, ErrUnknown
	}
	return o.Item, nil
}

// Refresh implements Catalogue.
func (o One) Refresh(context.Context) []piecehash.Root {
	return []piecehash.Root{o.Item.Manifest.Root()}
}
