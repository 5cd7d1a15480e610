package piecehash

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/dunlin-project/dunlin/piecehash/bencode"
)

// Limits of a metainfo file.
const (
	// MaxMetainfoSize bounds the file in bytes: the largest piece layer and the largest v1 hash list, and some room.
	MaxMetainfoSize = 64 << 20
	// MaxURLs bounds the origins.
	MaxURLs = 64
	// MaxURLLength bounds the text of one, in bytes.
	MaxURLLength = 4 << 10
)

// keySHA256 is our own top-level key: the SHA-256 of the whole file, 32 bytes. It stands outside "info", so other
// programs see the same torrent with and without it.
const keySHA256 = "dunlin.sha256"

// Metainfo is a BitTorrent v2 metainfo file (BEP 52) about one file, with its HTTP origins (BEP 19).
type Metainfo struct {
	// Name is the file's name: one path element that is safe to create (CheckName).
	Name string
	// Manifest is the proved piece layer.
	Manifest *Manifest
	// SHA256 is the hash of the whole file, if the metainfo has it. It is a claim: only the root is proved.
	SHA256 *Hash
	// URLs are the entries of url-list, as they were written. Origins makes full URLs of them.
	URLs []string
}

// Unsupported is the error of a sound metainfo file about something that this project does not transfer.
type Unsupported struct{ Reason string }

func (e *Unsupported) Error() string { return e.Reason }

// The reasons to refuse a torrent.
var (
	errV1Only    = &Unsupported{"it is a BitTorrent v1 torrent; only v2 and hybrid ones name content by a tree that proves each piece"}
	errVersion   = &Unsupported{"it has a newer meta version than 2"}
	errMultiFile = &Unsupported{"it describes a folder; only torrents of a single file are supported"}
	errSymlink   = &Unsupported{"it describes a symbolic link"}
	errEmptyFile = &Unsupported{"its file is empty; there is nothing to transfer"}
)

// ParseMetainfo reads a metainfo file, strictly: canonical bencode, sound geometry, a piece layer that proves itself, and
// in a hybrid a v1 half of the same length. The error is an *Unsupported when the file is sound but not for us. Origins
// that are neither http nor https are left out; keys that we do not know are not looked at.
func ParseMetainfo(b []byte) (*Metainfo, error) {
	m, err := parseMetainfo(b)
	if err != nil {
		return nil, fmt.Errorf("parse metainfo: %w", err)
	}
	return m, nil
}

func parseMetainfo(b []byte) (*Metainfo, error) {
	if len(b) > MaxMetainfoSize {
		return nil, fmt.Errorf("more than %d bytes", MaxMetainfoSize)
	}
	v, err := bencode.Decode(b)
	if err != nil {
		return nil, err
	}
	top, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("it is no dictionary")
	}
	info, err := need[map[string]any](top, "info")
	if err != nil {
		return nil, err
	}
	name, content, err := parseInfo(info)
	if err != nil {
		return nil, fmt.Errorf("info: %w", err)
	}
	m := &Metainfo{Name: name}
	if m.Manifest, err = proveLayer(top, content); err != nil {
		return nil, err
	}
	if m.SHA256, err = parseSHA256(top); err != nil {
		return nil, err
	}
	m.URLs, err = parseURLs(top["url-list"])
	return m, err
}

func parseInfo(info map[string]any) (name string, c Content, err error) {
	if err := checkVersion(info); err != nil {
		return "", Content{}, err
	}
	if name, err = need[string](info, "name"); err != nil {
		return "", Content{}, err
	}
	if err := CheckName(name); err != nil {
		return "", Content{}, err
	}
	pieceLength, err := need[int64](info, "piece length")
	if err != nil {
		return "", Content{}, err
	}
	tree, err := need[map[string]any](info, "file tree")
	if err != nil {
		return "", Content{}, err
	}
	root, length, err := parseTree(tree, name)
	if err != nil {
		return "", Content{}, err
	}
	if c, err = NewContent(root, length, pieceLength); err != nil {
		return "", Content{}, err
	}
	return name, c, checkHybrid(info, c)
}

func checkVersion(info map[string]any) error {
	version, there, err := field[int64](info, "meta version")
	_, v1 := info["pieces"]
	switch {
	case err != nil:
		return err
	case !there && v1, version == 1:
		return errV1Only
	case version > 2:
		return errVersion
	case version != 2:
		return fmt.Errorf("%q is missing or has no such value", "meta version")
	}
	return nil
}

// parseTree reads a file tree, which must be one file with the name of the torrent: {NAME: {"": {properties}}}.
func parseTree(tree map[string]any, name string) (Root, int64, error) {
	entry, ok := tree[name].(map[string]any)
	if len(tree) != 1 || !ok {
		return Root{}, 0, errMultiFile
	}
	file, ok := entry[""].(map[string]any)
	if len(entry) != 1 || !ok {
		return Root{}, 0, errMultiFile
	}
	attr, _, err := field[string](file, "attr")
	if err != nil {
		return Root{}, 0, err
	}
	if strings.ContainsRune(attr, 'l') {
		return Root{}, 0, errSymlink
	}
	length, err := need[int64](file, "length")
	if err != nil {
		return Root{}, 0, err
	}
	if length == 0 {
		return Root{}, 0, errEmptyFile
	}
	root, err := need[string](file, "pieces root")
	if err != nil {
		return Root{}, 0, err
	}
	if len(root) != len(Root{}) {
		return Root{}, 0, fmt.Errorf("%q has %d bytes", "pieces root", len(root))
	}
	return Root([]byte(root)), length, nil
}

// checkHybrid makes sure that the v1 half, if there is one, is about a file of the same length. Its SHA-1 hashes are not
// used, so whether it is about the same file only a v1 client could tell.
func checkHybrid(info map[string]any, c Content) error {
	pieces, there, err := field[string](info, "pieces")
	if err != nil || !there {
		return err
	}
	if _, folder := info["files"]; folder {
		return errMultiFile
	}
	length, err := need[int64](info, "length")
	if err != nil {
		return err
	}
	if length != c.Length() || len(pieces) != 20*c.Pieces() {
		return fmt.Errorf("its v1 half is about %d bytes in %d pieces, its v2 half about %d in %d",
			length, len(pieces)/20, c.Length(), c.Pieces())
	}
	return nil
}

func proveLayer(top map[string]any, c Content) (*Manifest, error) {
	if c.LayerSize() == 0 {
		return c.Prove(nil)
	}
	layers, err := need[map[string]any](top, "piece layers")
	if err != nil {
		return nil, err
	}
	root := c.Root()
	layer, err := need[string](layers, string(root[:]))
	if err != nil {
		return nil, fmt.Errorf("piece layers: %w", err)
	}
	return c.Prove([]byte(layer))
}

func parseSHA256(top map[string]any) (*Hash, error) {
	s, there, err := field[string](top, keySHA256)
	if err != nil || !there {
		return nil, err
	}
	if len(s) != len(Hash{}) {
		return nil, fmt.Errorf("%q has %d bytes", keySHA256, len(s))
	}
	h := Hash([]byte(s))
	return &h, nil
}

// parseURLs takes a string or a list of strings; an empty string is none.
func parseURLs(v any) ([]string, error) {
	list, ok := v.([]any)
	if !ok && v != nil {
		list = []any{v}
	}
	if len(list) > MaxURLs {
		return nil, fmt.Errorf("url-list has %d entries, at most %d are taken", len(list), MaxURLs)
	}
	var out []string
	for _, v := range list {
		s, ok := v.(string)
		if !ok {
			return nil, errors.New("url-list has an entry that is no string")
		}
		if usable, err := checkURL(s); err != nil {
			return nil, fmt.Errorf("url-list: %w", err)
		} else if usable {
			out = append(out, s)
		}
	}
	return out, nil
}

// checkURL reports whether s is an origin for us. Other schemes than http and https are not; they are no error, because
// BEP 19 knows ftp.
func checkURL(s string) (usable bool, err error) {
	if s == "" {
		return false, nil
	}
	if len(s) > MaxURLLength {
		return false, fmt.Errorf("URL of %d bytes, at most %d are taken", len(s), MaxURLLength)
	}
	u, err := url.Parse(s)
	if err != nil {
		return false, err
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return false, nil
	}
	if u.Host == "" {
		return false, fmt.Errorf("URL %q has no host", s)
	}
	return true, nil
}

// Origins returns the full URLs of the file: one that ends in a slash is a folder, to which the name is added.
func (m *Metainfo) Origins() []string {
	out := make([]string, 0, len(m.URLs))
	for _, u := range m.URLs {
		if strings.HasSuffix(u, "/") {
			u += url.PathEscape(m.Name)
		}
		out = append(out, u)
	}
	return out
}

// Check refuses what Encode would refuse of the name and the URLs, before there is a manifest.
func (m *Metainfo) Check() error {
	if err := CheckName(m.Name); err != nil {
		return err
	}
	if len(m.URLs) > MaxURLs {
		return fmt.Errorf("%d URLs, at most %d are taken", len(m.URLs), MaxURLs)
	}
	for _, u := range m.URLs {
		if usable, err := checkURL(u); err != nil {
			return err
		} else if !usable {
			return fmt.Errorf("URL %q is neither http nor https", u)
		}
	}
	return nil
}

// Encode writes the metainfo file: v2 only, and the same bytes for the same value. What it writes ParseMetainfo reads.
func (m *Metainfo) Encode() ([]byte, error) {
	if m.Manifest == nil {
		return nil, errors.New("encode metainfo: there is no manifest")
	}
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("encode metainfo: %w", err)
	}
	return bencode.Encode(m.dict())
}

func (m *Metainfo) dict() map[string]any {
	root := m.Manifest.Root()
	layers := map[string]any{}
	if layer := m.Manifest.Layer(); layer != nil {
		layers[string(root[:])] = layer
	}
	file := map[string]any{"length": m.Manifest.Length(), "pieces root": root[:]}
	top := map[string]any{
		"info": map[string]any{
			"file tree":    map[string]any{m.Name: map[string]any{"": file}},
			"meta version": 2,
			"name":         m.Name,
			"piece length": m.Manifest.PieceLength(),
		},
		"piece layers": layers, // present also when empty: libtorrent demands it
	}
	if m.SHA256 != nil {
		top[keySHA256] = m.SHA256[:]
	}
	if list := m.urlList(); len(list) > 0 {
		top["url-list"] = list
	}
	return top
}

func (m *Metainfo) urlList() []any {
	list := make([]any, 0, len(m.URLs))
	for _, u := range m.URLs {
		list = append(list, u)
	}
	return list
}

// field returns the value of an optional key; one of another type is an error.
func field[T any](d map[string]any, key string) (v T, there bool, err error) {
	raw, there := d[key]
	if !there {
		return v, false, nil
	}
	if v, ok := raw.(T); ok {
		return v, true, nil
	}
	return v, true, fmt.Errorf("%q has another type than it should", key)
}

// need is field for a key that must be there.
func need[T any](d map[string]any, key string) (T, error) {
	v, there, err := field[T](d, key)
	if err == nil && !there {
		err = fmt.Errorf("%q is missing", key)
	}
	return v, err
}
