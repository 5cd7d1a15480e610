package site

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/dunlin-project/dunlin/bench/line"
	"github.com/dunlin-project/dunlin/e2e/lab"
)

// client is a program that fetches the content. It goes on serving when it has it, except the bound.
type client struct {
	name string // as in -clients
	says string // as in the table
	// word is printed when the file is whole; empty: the program ends then.
	word string
	argv func(c call) []string
}

// call is one start of a client.
type call struct {
	w     *network
	host  *lab.Host
	dir   string    // where the file goes
	at    time.Time // when fetching begins; zero: at once
	peers []string  // static ones
}

// bound is the client that all others are measured against: a site whose line carries one copy cannot be faster.
const bound = "curl"

// ours is what a run of dunlin get prints.
const ours = `{"event":"done"`

// allClients are those that take turns, by name.
func allClients(bin string) map[string]client {
	leech := func(mode string) func(call) []string {
		return func(c call) []string {
			return []string{"/usr/bin/python3", "leech.py", c.w.Torrent(), c.dir, c.host.Addr, mode}
		}
	}
	out := map[string]client{}
	for _, c := range []client{
		{name: bound, says: "curl, alone", argv: func(c call) []string {
			return []string{"curl", "-sf", "-o", filepath.Join(c.dir, line.File), c.w.URL()}
		}},
		{name: "dunlin", says: "dunlin get", word: ours, argv: func(c call) []string { return getCommand(bin, c) }},
		{name: "libtorrent", says: "libtorrent", word: "done\n", argv: leech("default")},
		{name: "tuned", says: "libtorrent, tuned", word: "done\n", argv: leech("tuned")},
		{name: "aria2", says: "aria2", word: "done\n", argv: aria2Command},
	} {
		out[c.name] = c
	}
	return out
}

func getCommand(bin string, c call) []string {
	argv := []string{bin, "-v", "get", c.w.Torrent(), "-o", c.dir, "--listen", c.host.Addr + ":7680", "--seed", "1h", "--json"}
	for _, p := range c.peers {
		argv = append(argv, "--peer", p)
	}
	if !c.at.IsZero() {
		argv = append(argv, "--start-at", c.at.Format(time.RFC3339Nano))
	}
	return argv
}

func aria2Command(c call) []string {
	return []string{
		"aria2c", "--no-conf", "--enable-dht=false", "--enable-dht6=false", "--enable-peer-exchange=false",
		"--bt-enable-lpd=true", "--bt-lpd-interface=eth0", "--bt-max-peers=0", "--bt-request-peer-speed-limit=900M",
		"--seed-time=60", "--file-allocation=none", "--dir", c.dir, "--console-log-level=error", "--summary-interval=0",
		"--on-bt-download-complete=" + c.w.hook(), c.w.Torrent(),
	}
}

// launch starts the client on a host with an empty folder of its own.
func (c client) launch(w *network, h *lab.Host, at time.Time, peers []string) *line.Device {
	w.T.Helper()
	d := c.lineUp(w, h, at, peers)
	d.LetGo(w.T)
	return d
}

// lineUp is launch up to the start line.
func (c client) lineUp(w *network, h *lab.Host, at time.Time, peers []string) *line.Device {
	w.T.Helper()
	k := call{w: w, host: h, dir: w.Folder(), at: at, peers: peers}
	return line.LineUp(w.T, h, k.dir, c.word, nil, c.argv(k))
}

// launchEvil starts a device that means harm.
func (w *network) launchEvil(p part, h *lab.Host) *line.Device {
	w.T.Helper()
	what := map[part]string{liars: "corrupt", silent: "mute"}[p]
	env := fmt.Sprintf("%s=%s %s %s %s:7680", evilEnv, what, w.Torrent(), w.Content(), h.Addr)
	return line.Launch(w.T, h, "", "\n", []string{env}, []string{os.Args[0]})
}
