package archive_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/dunlin-project/dunlin/internal/archive"
	"github.com/dunlin-project/dunlin/internal/fault"
)

// attacks are archives that must be refused, each with a word of the reason.
func attacks() map[string]struct {
	items []item
	why   string
} {
	long := strings.Repeat("n", 256)
	deep := strings.Repeat("d/", 64) + "f"
	return map[string]struct {
		items []item
		why   string
	}{
		"up":                    {[]item{{name: "../victim", body: "x"}}, "upwards"},
		"up within":             {[]item{{name: "a/../../victim", body: "x"}}, "upwards"},
		"up and back":           {[]item{{name: "a/../b", body: "x"}}, "detour"},
		"up at the end":         {[]item{{name: "a/..", kind: tar.TypeDir}}, "upwards"},
		"absolute":              {[]item{{name: "/etc/shadow", body: "x"}}, "absolute"},
		"absolute folder":       {[]item{{name: "/", kind: tar.TypeDir}}, "absolute"},
		"double slash":          {[]item{{name: "a//b", body: "x"}}, "detour"},
		"dot within":            {[]item{{name: "a/./b", body: "x"}}, "detour"},
		"only dot":              {[]item{{name: ".", body: "x"}}, ""},
		"only two dots":         {[]item{{name: "..", body: "x"}}, "upwards"},
		"file with slash":       {[]item{{name: "f", body: "x"}, {name: "f/", kind: tar.TypeDir}}, "twice"},
		"newline":               {[]item{{name: "a\nb", body: "x"}}, "control"},
		"escape":                {[]item{{name: "a\x1b[2Jb", body: "x"}}, "control"},
		"right to left":         {[]item{{name: "exe\u202etxt", body: "x"}}, "control"},
		"not UTF-8":             {[]item{{name: "a\xff", body: "x"}}, "UTF-8"},
		"element too long":      {[]item{{name: long, body: "x"}}, "element"},
		"name too long":         {[]item{{name: strings.Repeat("dddddddd/", 400) + "f", body: "x"}}, "longer"},
		"too deep":              {[]item{{name: deep, body: "x"}}, "deeper"},
		"link up":               {[]item{{name: "l", kind: tar.TypeSymlink, link: "../victim"}}, "out of the folder"},
		"link far up":           {[]item{{name: "a/l", kind: tar.TypeSymlink, link: "../../victim"}}, "out of the folder"},
		"link absolute":         {[]item{{name: "l", kind: tar.TypeSymlink, link: "/etc/passwd"}}, "out of the folder"},
		"link with control":     {[]item{{name: "l", kind: tar.TypeSymlink, link: "a\nb"}}, "control"},
		"link over link":        {[]item{{name: "a/up", kind: tar.TypeSymlink, link: ".."}, {name: "out", kind: tar.TypeSymlink, link: "a/up/../victim"}}, "nowhere allowed"},
		"link loop":             {[]item{{name: "a", kind: tar.TypeSymlink, link: "b"}, {name: "b", kind: tar.TypeSymlink, link: "a"}}, "nowhere allowed"},
		"write through a link":  {[]item{{name: "d", kind: tar.TypeSymlink, link: "e"}, {name: "d/f", body: "x"}}, "no folder"},
		"write over a link":     {[]item{{name: "l", kind: tar.TypeSymlink, link: "f"}, {name: "l", body: "x"}}, "twice"},
		"folder over a link":    {[]item{{name: "l", kind: tar.TypeSymlink, link: "f"}, {name: "l/", kind: tar.TypeDir}}, "twice"},
		"twice":                 {[]item{{name: "f", body: "1"}, {name: "f", body: "2"}}, "twice"},
		"twice, differently":    {[]item{{name: "f", body: "1"}, {name: "./f", body: "2"}}, "twice"},
		"file, then folder":     {[]item{{name: "a", body: "1"}, {name: "a/b", body: "2"}}, "no folder"},
		"folder, then file":     {[]item{{name: "a/b", body: "1"}, {name: "a", body: "2"}}, "twice"},
		"device":                {[]item{{name: "d", kind: tar.TypeChar}}, "neither file"},
		"pipe":                  {[]item{{name: "p", kind: tar.TypeFifo}}, "neither file"},
		"setuid":                {[]item{{name: "su", body: "x", mode: 0o4755}}, "setuid"},
		"too big":               {[]item{{name: "f", body: strings.Repeat("x", 1<<20)}, {name: "g", body: "x"}}, "more than the signed"},
		"empty name":            {[]item{{name: "", body: "x"}}, ""},
		"a link without target": {[]item{{name: "l", kind: tar.TypeSymlink}}, ""},
	}
}

func TestAttacks(t *testing.T) {
	t.Parallel()
	for name, a := range attacks() {
		for format, pack := range map[string]func(testing.TB, ...item) []byte{
			"tar": makeTar,
			"zip": makeZip,
			"zst": func(t testing.TB, items ...item) []byte { return zstdPacked(t, makeTar(t, items...)) },
		} {
			t.Run(name+"/"+format, func(t *testing.T) {
				t.Parallel()
				refused(t, pack(t, a.items...), a.why)
			})
		}
	}
}

func refused(t *testing.T, packed []byte, why string) {
	t.Helper()
	_, err := unpack(t, packed, archive.Options{})
	if !fault.Is(err, fault.Untrusted) || !strings.Contains(err.Error(), why) {
		t.Errorf("%v: %v; want untrusted, with %q", fault.Of(err), err, why)
	}
	if err != nil && (len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\x1b\n")) {
		t.Errorf("the message is not fit to print: %.2000q", err)
	}
}

func TestAttacksOfTar(t *testing.T) {
	t.Parallel()
	for name, a := range map[string]struct {
		items []item
		why   string
	}{
		"block device":              {[]item{{name: "d", kind: tar.TypeBlock}}, "neither file"},
		"contiguous":                {[]item{{name: "c", kind: tar.TypeCont}}, "neither file"},
		"unknown type":              {[]item{{name: "u", kind: 'Z'}}, "neither file"},
		"sparse, old":               {[]item{{name: "s", kind: tar.TypeGNUSparse}}, ""},
		"hard link up":              {[]item{{name: "h", kind: tar.TypeLink, link: "../victim"}}, "upwards"},
		"hard link absolute":        {[]item{{name: "h", kind: tar.TypeLink, link: "/etc/shadow"}}, "absolute"},
		"hard link to nothing":      {[]item{{name: "h", kind: tar.TypeLink, link: "later"}, {name: "later"}}, "no file before"},
		"hard link to a link":       {[]item{{name: "l", kind: tar.TypeSymlink, link: "f"}, {name: "h", kind: tar.TypeLink, link: "l"}}, "no file before"},
		"hard link to a folder":     {[]item{{name: "d/", kind: tar.TypeDir}, {name: "h", kind: tar.TypeLink, link: "d"}}, "no file before"},
		"hard link through a link":  {[]item{{name: "d/f"}, {name: "l", kind: tar.TypeSymlink, link: "d"}, {name: "h", kind: tar.TypeLink, link: "l/f"}}, "no file before"},
		"setgid folder":             {[]item{{name: "d/", kind: tar.TypeDir, mode: 0o2755}}, "setgid"},
		"sticky":                    {[]item{{name: "d/", kind: tar.TypeDir, mode: 0o1777}}, "sticky"},
		"announces a terabyte":      {[]item{{name: "f", body: "x", size: 1 << 40}}, "more than the signed"},
		"announces more than it is": {[]item{{name: "f", body: "x", size: 1000}}, "too early"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, makeRawTar(t, a.items...), a.why)
		})
	}
}

// makeRawTar writes what the library's writer would refuse to.
func makeRawTar(t testing.TB, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, i := range items {
		h := make([]byte, 512)
		header := i.header()
		copy(h, header.Name)
		copy(h[100:], fmt.Sprintf("%07o\x00%07o\x00%07o\x00", header.Mode, 0, 0))
		copy(h[124:], fmt.Sprintf("%011o\x00%011o\x00", min(header.Size, 1<<33-1), 0))
		if header.Size >= 1<<33 { // base 256
			binary.BigEndian.PutUint64(h[128:], uint64(header.Size))
			h[124], h[125], h[126], h[127] = 0x80, 0, 0, 0
		}
		h[156] = header.Typeflag
		copy(h[157:], header.Linkname)
		copy(h[257:], "ustar\x0000")
		copy(h[148:], "        ")
		sum := 0
		for _, c := range h {
			sum += int(c)
		}
		copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
		b.Write(h)
		b.WriteString(i.body)
		b.Write(make([]byte, (512-len(i.body)%512)%512))
	}
	if items[len(items)-1].size == 0 {
		b.Write(make([]byte, 1024))
	}
	return b.Bytes()
}

func TestAttacksOfZip(t *testing.T) {
	t.Parallel()
	body := strings.Repeat("y", 5000)
	sound := makeZip(t, item{name: "f", body: body})
	for name, a := range map[string]struct {
		packed []byte
		why    string
	}{
		"backslash":          {makeZip(t, item{name: `..\victim`, body: "x"}), "backslash"},
		"drive":              {makeZip(t, item{name: `C:\x`, body: "x"}), "backslash"},
		"something behind":   {append(bytes.Clone(sound), "more"...), "behind its end"},
		"cut in the middle":  {sound[:len(sound)/2], "too early"},
		"cut at the end":     {sound[:len(sound)-4], ""},
		"only an end record": {append([]byte("PK\x03\x04"), makeZip(t)...), ""},
		"entries lie":        {patched(sound, len(sound)-22+10, 0xff), ""},
		"smaller than said":  {zipWithSize(t, body, 4999), ""},
		"bigger than said":   {zipWithSize(t, body, 5001), ""},
		"a bad check sum":    {patched(sound, bytes.Index(sound, []byte("PK\x01\x02"))+16, 0x55), ""},
		"a long link":        {makeZip(t, item{name: "l", kind: tar.TypeSymlink, link: strings.Repeat("a/", 4000)}), ""},
		"overlapping bomb":   {overlappingZip(t, 2000, 1<<12), "more than the signed"},
		"a directory bomb":   {zipDirectoryBomb(), ""},
		"zip64 announcement": {zip64Announcing(1 << 40), "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, a.packed, a.why)
		})
	}
}

func patched(b []byte, at int, with byte) []byte {
	b = bytes.Clone(b)
	b[at] ^= with
	return b
}

// zipWithSize announces another size than the file has.
func zipWithSize(t testing.TB, body string, size int) []byte {
	t.Helper()
	var b, packed bytes.Buffer
	f, err := flate.NewWriter(&packed, flate.BestSpeed)
	must(t, err)
	_, err = io.WriteString(f, body)
	must(t, err)
	must(t, f.Close())
	w := zip.NewWriter(&b)
	e, err := w.CreateRaw(&zip.FileHeader{
		Name: "f", Method: zip.Deflate, CRC32: crc32.ChecksumIEEE([]byte(body)),
		CompressedSize64: uint64(packed.Len()), UncompressedSize64: uint64(size),
	})
	must(t, err)
	_, err = e.Write(packed.Bytes())
	must(t, err)
	must(t, w.Close())
	return b.Bytes()
}

// overlappingZip has many entries in its directory that all are the same bytes of the file.
func overlappingZip(t testing.TB, entries, size int) []byte {
	t.Helper()
	one := makeZip(t, item{name: "f0000", body: strings.Repeat("z", size)})
	start := bytes.Index(one, []byte("PK\x01\x02"))
	end := bytes.LastIndex(one, []byte("PK\x05\x06"))
	out := bytes.Clone(one[:start])
	for n := range entries {
		entry := bytes.Clone(one[start:end])
		copy(entry[46:], fmt.Sprintf("f%04d", n))
		out = append(out, entry...)
	}
	record := bytes.Clone(one[end:])
	binary.LittleEndian.PutUint16(record[8:], uint16(entries))
	binary.LittleEndian.PutUint16(record[10:], uint16(entries))
	binary.LittleEndian.PutUint32(record[12:], uint32(entries*(end-start)))
	return append(out, record...)
}

// zipDirectoryBomb announces one entry and has a directory without end.
func zipDirectoryBomb() []byte {
	entry := make([]byte, 47)
	copy(entry, "PK\x01\x02")
	entry[28], entry[46] = 1, 'x'
	out := append([]byte("PK\x03\x04"), bytes.Repeat(entry, archive.MaxDirectory/len(entry)+100_000)...)
	record := make([]byte, 22)
	copy(record, "PK\x05\x06")
	record[8], record[10] = 1, 1
	binary.LittleEndian.PutUint32(record[12:], uint32(len(out)-4))
	binary.LittleEndian.PutUint32(record[16:], 4)
	return append(out, record...)
}

// zip64Announcing says in its longer record that there are so many entries.
func zip64Announcing(entries uint64) []byte {
	out := append([]byte("PK\x03\x04"), make([]byte, 1000)...)
	long := make([]byte, 56)
	copy(long, "PK\x06\x06")
	binary.LittleEndian.PutUint64(long[24:], entries)
	binary.LittleEndian.PutUint64(long[32:], entries)
	locator := make([]byte, 20)
	copy(locator, "PK\x06\x07")
	binary.LittleEndian.PutUint64(locator[8:], uint64(len(out)))
	record := make([]byte, 22)
	copy(record, "PK\x05\x06")
	binary.LittleEndian.PutUint32(record[16:], 0xffffffff)
	return append(append(append(out, long...), locator...), record...)
}

func TestDamagedStreams(t *testing.T) {
	t.Parallel()
	plain := makeTar(t, item{name: "f", body: strings.Repeat("content ", 5000)}, item{name: "g", body: "second"})
	gz, zst := gzipped(t, plain), zstdPacked(t, plain)
	for name, a := range map[string]struct {
		packed []byte
		why    string
	}{
		"nothing":                   {nil, "neither tar"},
		"text":                      {[]byte(strings.Repeat("<html>block page</html>\n", 100)), "neither tar"},
		"one byte":                  {[]byte{0x1f}, "neither tar"},
		"zeros":                     {make([]byte, 10240), "neither tar"},
		"empty tar":                 {gzipped(t, make([]byte, 1024)), "empty"},
		"only the folder itself":    {makeTar(t, item{name: "./", kind: tar.TypeDir}), "empty"},
		"tar cut in a file":         {plain[:3000], "too early"},
		"gz cut":                    {gz[:len(gz)/2], "too early"},
		"gz without its check sum":  {gz[:len(gz)-8], "too early"},
		"gz with a bad check sum":   {patched(gz, len(gz)-6, 1), ""},
		"gz with something behind":  {append(bytes.Clone(gz), "trailing"...), ""},
		"zst cut":                   {zst[:len(zst)/2], ""},
		"zst with a bad check sum":  {patched(zst, len(zst)-1, 1), ""},
		"zst with something behind": {append(bytes.Clone(zst), "trailing"...), ""},
		"tar with something behind": {append(bytes.Clone(plain), "hidden"...), "behind its end"},
		"a second tar behind":       {append(bytes.Clone(plain), plain...), "behind its end"},
		"zeros without end":         {gzipped(t, append(bytes.Clone(plain), make([]byte, archive.MaxTail+1<<20)...)), ""},
		"bad header sum":            {patched(plain, 5, 1), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, a.packed, a.why)
		})
	}
}

// TestBombs holds what a bomb may cost: nothing but the signed size on the disk, and little memory.
func TestBombs(t *testing.T) {
	big := strings.Repeat("\x00", 2<<20)
	plain := makeTar(t, item{name: "f", body: big})
	for name, packed := range map[string][]byte{
		"gzip":        gzipped(t, plain),
		"zstd":        zstdPacked(t, plain),
		"zip":         makeZip(t, item{name: "f", body: big}),
		"nested":      gzipped(t, gzipped(t, plain)),
		"sparse":      paxSparse(t, 1<<40),
		"zstd window": zstdWithWindow(makeTar(t, item{name: "f", body: "x"}), 28),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := unpack(t, packed, archive.Options{Bytes: 1 << 16})
		runtime.ReadMemStats(&after)
		if !fault.Is(err, fault.Untrusted) {
			t.Errorf("%s: %v: %v", name, fault.Of(err), err)
		}
		if spent := after.TotalAlloc - before.TotalAlloc; spent > 64<<20 {
			t.Errorf("%s: %d bytes were allocated", name, spent)
		}
	}
}

// zstdWithWindow packs b in one raw block, of a frame that demands a window of 1<<log bytes.
func zstdWithWindow(b []byte, log int) []byte {
	header := len(b)<<3 | 1 // raw, last
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, byte(log-10) << 3, byte(header), byte(header >> 8), byte(header >> 16)}
	return append(frame, b...)
}

func TestZstdWindow(t *testing.T) {
	t.Parallel()
	packed := makeTar(t, item{name: "f", body: "x"})
	if _, err := unpack(t, zstdWithWindow(packed, 27), archive.Options{}); err != nil {
		t.Errorf("the window that stock zstd takes: %v", err)
	}
	_, err := unpack(t, zstdWithWindow(packed, 28), archive.Options{})
	if !fault.Is(err, fault.Untrusted) || fault.Hint(err) == "" {
		t.Errorf("%v: %v", fault.Of(err), err)
	}
}

// paxSparse is a file with a hole of a terabyte (GNU sparse format 1.0).
func paxSparse(t testing.TB, size int64) []byte {
	t.Helper()
	block := make([]byte, 512)
	copy(block, fmt.Sprintf("1\n%d\n0\n", size))
	var b bytes.Buffer
	record := func(k, v string) string {
		for n := len(k) + len(v) + 3; ; n++ {
			if s := fmt.Sprintf("%d %s=%s\n", n, k, v); len(s) == n {
				return s
			}
		}
	}
	pax := record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0") +
		record("GNU.sparse.name", "s") + record("GNU.sparse.realsize", fmt.Sprint(size))
	raw := makeRawTar(t, item{name: "p", kind: 'x', body: pax}, item{name: "GNUSparseFile.0/s", body: string(block)})
	b.Write(raw)
	return b.Bytes()
}

func TestTooManyEntries(t *testing.T) {
	t.Parallel()
	const most = 20
	header := item{name: "pax_global_header", kind: tar.TypeXGlobalHeader}
	for name, packed := range map[string][]byte{
		"files":        makeTar(t, numbered("f%d")...),
		"files, zip":   makeZip(t, numbered("f%d")...),
		"said again":   makeTar(t, slices.Repeat([]item{{name: "./", kind: tar.TypeDir}}, 21)...),
		"headers":      makeRawTar(t, slices.Repeat([]item{header}, 21)...),
		"folders only": makeTar(t, numbered("a%d/b/c/d/e/f")[:15]...),
	} {
		if _, err := unpack(t, packed, archive.Options{Entries: most}); !fault.Is(err, fault.Untrusted) || !strings.Contains(err.Error(), "many") && !strings.Contains(err.Error(), "entries") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := unpack(t, makeTar(t, numbered("f%d")[:most]...), archive.Options{Entries: most}); err != nil {
		t.Error(err)
	}
}

// numbered returns 21 files.
func numbered(name string) []item {
	items := make([]item, 21)
	for n := range items {
		items[n].name = fmt.Sprintf(name, n)
	}
	return items
}

func FuzzUnpack(f *testing.F) {
	plain := makeTar(f, good()...)
	f.Add(plain)
	f.Add(gzipped(f, plain))
	f.Add(zstdPacked(f, plain))
	f.Add(makeZip(f, good()...))
	f.Add(paxSparse(f, 1<<40))
	f.Add(overlappingZip(f, 3, 100))
	for _, a := range attacks() {
		f.Add(makeRawTar(f, a.items...))
		f.Add(makeZip(f, a.items...))
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		files, err := unpack(t, packed, archive.Options{Bytes: 1 << 16})
		if err != nil && !fault.Is(err, fault.Untrusted) {
			t.Errorf("%v: %v", fault.Of(err), err)
		}
		if err == nil && len(files) < 2 {
			t.Error("an empty archive was unpacked")
		}
	})
}
