package cache

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dunlin-project/dunlin/bench/line"
	"github.com/dunlin-project/dunlin/e2e/lab"
	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/piecehash"
)

// patience is how long anybody may need for a file.
const patience = 10 * time.Minute

// scrubbing says whether the node looks for rot while it is measured: no flag of its changes that.
const scrubbing = "on, as it is without a flag: only while nothing is read or fetched"

// stored is what a node prints when it has all of the content.
const stored = `{"event":"stored"`

// lineUpNode brings a cold node to the start line of the first host. It knows the content.
func (b *bench) lineUpNode(args ...string) *line.Device {
	b.t.Helper()
	h, dir := b.Hosts[0], b.Folder()
	known := filepath.Join(dir, "torrents")
	b.must(os.Mkdir(known, 0o755))
	meta, err := os.ReadFile(b.Torrent())
	b.must(err)
	b.write(filepath.Join(known, "content.torrent"), meta)
	argv := []string{
		b.bin, "cache", "run", "--json", "--dir", filepath.Join(dir, "node"), "--content", known, "--reserve", "1M",
		"--listen", h.Addr + ":7680", "--http", h.Addr + ":7681",
	}
	return line.LineUp(b.t, h, dir, stored, nil, append(argv, args...))
}

// startNode starts a cold node and returns when it listens.
func (b *bench) startNode(args ...string) *line.Device {
	b.t.Helper()
	d := b.lineUpNode(args...)
	d.LetGo(b.t)
	_, err := d.Out.Listening(10 * time.Second)
	b.must(err)
	return d
}

// rest is how long a node has run when clients come to an old one: it knows by then who is around.
const rest = 6 * time.Second

// oldNode starts a cold node that has run for a while, as one that is always on.
func (b *bench) oldNode() *line.Device {
	b.t.Helper()
	d := b.startNode()
	time.Sleep(rest)
	return d
}

// nodeURL is where the node has the content.
func (b *bench) nodeURL() string {
	b.t.Helper()
	return "http://" + b.Hosts[0].Addr + ":7681/content/" + b.root()
}

func (b *bench) root() string {
	b.t.Helper()
	data, err := os.ReadFile(b.Torrent())
	b.must(err)
	meta, err := piecehash.ParseMetainfo(data)
	b.must(err)
	return meta.Manifest.Root().String()
}

// lineUpCurl brings a plain client to the start line.
func (b *bench) lineUpCurl(h *lab.Host, url string) *line.Device {
	b.t.Helper()
	dir := b.Folder()
	return line.LineUp(b.t, h, dir, "", nil, []string{"curl", "-sf", "-o", filepath.Join(dir, line.File), url})
}

// lineUpAgent brings a device with an agent's engine to the start line.
func (b *bench) lineUpAgent(h *lab.Host) *line.Device {
	b.t.Helper()
	dir := b.Folder()
	argv := []string{b.bin, "-v", "get", b.Torrent(), "-o", dir, "--listen", h.Addr + ":7680", "--seed", "1h", "--json"}
	return line.LineUp(b.t, h, dir, `{"event":"done"`, nil, argv)
}

// finish waits until all have the file, and returns how long the last of them took and how many have none.
func (b *bench) finish(all []*line.Device) (seconds float64, without int) {
	b.t.Helper()
	for _, d := range all {
		if err := d.Wait(patience); err != nil {
			b.t.Error(err)
			without++
			continue
		}
		seconds = max(seconds, d.Took().Seconds())
	}
	return seconds, without
}

// compare holds the files against the content and removes them.
func (b *bench) compare(all []*line.Device) {
	b.t.Helper()
	for _, d := range all {
		if err := b.Compare(filepath.Join(d.Dir, line.File)); err != nil {
			b.fail("the file of %s: %v", d.Host.Name, err)
		}
	}
}

// stopAll ends processes, and removes what they have left in memory.
func (b *bench) stopAll(all ...*line.Device) {
	for _, d := range all {
		d.Stop(syscall.SIGTERM)
		os.RemoveAll(d.Dir)
	}
}

// told is what a node or an agent has said of where its bytes came from: the newest word.
func told(d *line.Device) (from fetch.From, whole bool) {
	for text := range strings.Lines(d.Out.String()) {
		var e struct {
			Event string      `json:"event"`
			From  *fetch.From `json:"from"`
		}
		if json.Unmarshal([]byte(text), &e) == nil && e.From != nil {
			from, whole = *e.From, e.Event == "done" || e.Event == "stored"
		}
	}
	return from, whole
}
