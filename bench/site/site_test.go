package site

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/e2e/lab"
)

var (
	devices = flag.String("devices", "4", "numbers of devices, comma-separated")
	size    = flag.Int64("mib", 32, "size of the content in MiB")
	mbit    = flag.Int("mbit", 100, "rate of the origin's line in Mbit/s")
	clients = flag.String("clients", "curl,dunlin", "who takes turns: curl, dunlin, libtorrent, tuned, aria2")
	runs    = flag.Int("runs", 1, "how often each takes its turn")
	keepLog = flag.String("logs", "", "folder that gets what the clients print")
)

// client starts itself on a host; it prints a line with the word "done" in it when the file is whole, and goes on seeding.
type client struct {
	name  string
	start func(w *network, h *lab.Host, dir string) []string
	ends  bool // ends when it has the file
}

func allClients(bin string) map[string]client {
	leech := func(mode string) func(*network, *lab.Host, string) []string {
		return func(w *network, h *lab.Host, dir string) []string {
			return []string{"/usr/bin/python3", "leech.py", w.torrent(), dir, h.Addr, mode}
		}
	}
	return map[string]client{
		"curl": {name: "curl", ends: true, start: func(w *network, _ *lab.Host, dir string) []string {
			return []string{"curl", "-sf", "-o", filepath.Join(dir, w.file), "http://" + w.origin.Addr + "/" + w.file}
		}},
		"dunlin": {name: "dunlin", start: func(w *network, h *lab.Host, dir string) []string {
			return []string{bin, "-v", "get", w.torrent(), "-o", dir, "--listen", h.Addr + ":7680", "--seed", "1h", "--json"}
		}},
		"libtorrent": {name: "libtorrent", start: leech("default")},
		"tuned":      {name: "libtorrent tuned", start: leech("tuned")},
		"aria2": {name: "aria2", start: func(w *network, _ *lab.Host, dir string) []string {
			return []string{
				"aria2c", "--no-conf", "--enable-dht=false", "--enable-dht6=false", "--enable-peer-exchange=false",
				"--bt-enable-lpd=true", "--bt-lpd-interface=eth0", "--bt-max-peers=0", "--bt-request-peer-speed-limit=900M",
				"--seed-time=60", "--file-allocation=none", "--dir", dir, "--console-log-level=error", "--summary-interval=0",
				"--on-bt-download-complete=" + filepath.Join(w.dir, "done.sh"), w.torrent(),
			}
		}},
	}
}

// outcome is one turn of one client.
type outcome struct {
	copies, makespan float64 // copies by the access log; seconds from the common start to the last "done"
	cpu              float64 // seconds per GiB that was delivered
	idle             float64 // share of the machine's CPU that was idle
	waste            int64   // bytes, where the client says so
}

// TestSite prints a table for each number of devices.
func TestSite(t *testing.T) {
	lab.Need(t, "ip", "tc", "nginx", "curl")
	bin := lab.Binary(t)
	var maker lab.Maker
	for _, n := range strings.Split(*devices, ",") {
		var count int
		if _, err := fmt.Sscan(n, &count); err != nil {
			t.Fatal(err)
		}
		t.Run(n, func(t *testing.T) { turns(t, &maker, bin, count) })
	}
}

func turns(t *testing.T, maker *lab.Maker, bin string, n int) {
	w := build(t, maker, n, *size<<20, *mbit)
	w.sh(fmt.Sprintf("printf '#!/bin/sh\\necho done\\n' > %[1]s/done.sh; chmod +x %[1]s/done.sh", w.dir))
	all := allClients(bin)
	var bound float64
	fmt.Printf("%d devices, %d MiB, origin %d Mbit/s\n%-18s %8s %10s %8s %10s %6s\n", n, *size, *mbit, "client", "copies", "makespan", "/bound", "CPU s/GiB", "idle")
	for range *runs {
		for _, name := range strings.Split(*clients, ",") {
			c, ok := all[name]
			if !ok {
				t.Fatalf("no client %q", name)
			}
			hosts := w.hosts
			if c.ends {
				hosts = hosts[:1] // the bound is one download alone
			}
			o := w.turn(c, hosts)
			if c.ends {
				bound = o.makespan
			}
			fmt.Printf("%-18s %8.3f %9.2fs %8.3f %10.2f %5.0f%%  waste %d\n", c.name, o.copies, o.makespan, o.makespan/bound, o.cpu, 100*o.idle, o.waste)
		}
	}
}

// turn lets one client fetch the file on all hosts at once.
func (w *network) turn(c client, hosts []*lab.Host) outcome {
	t := w.t
	t.Helper()
	before, _ := w.served()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	dirs := make([]string, len(hosts))
	outs := make([]*lab.Output, len(hosts))
	cmds := make([]*exec.Cmd, len(hosts))
	for i, h := range hosts {
		dirs[i], outs[i] = t.TempDir(), &lab.Output{}
		argv := c.start(w, h, dirs[i])
		cmds[i] = h.Command(ctx, argv[0], argv[1:]...)
		cmds[i].Stdout, cmds[i].Stderr = outs[i], outs[i]
	}
	idle0, all0 := idle(t)
	start := time.Now()
	for _, cmd := range cmds {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
	}
	var o outcome
	if c.ends {
		for _, cmd := range cmds {
			_ = cmd.Wait()
		}
	} else {
		for _, out := range outs {
			out.Wait(t, "done", 10*time.Minute)
		}
	}
	o.makespan = time.Since(start).Seconds()
	idle1, all1 := idle(t)
	o.idle = float64(idle1-idle0) / float64(max(1, all1-all0))
	total := float64(w.size) * float64(len(hosts)) / (1 << 30)
	o.cpu = stopAll(cmds, cancel) / total
	after, _ := w.served()
	o.copies = float64(after-before) / float64(w.size)
	for i, dir := range dirs {
		w.compare(filepath.Join(dir, w.file))
		o.waste += wasteOf(outs[i].String())
		w.keep(c.name, hosts[i].Name, outs[i].String())
	}
	return o
}

func (w *network) keep(client, host, text string) {
	if *keepLog == "" {
		return
	}
	name := filepath.Join(*keepLog, fmt.Sprintf("%s-%s-%d.log", client, host, time.Now().UnixNano()))
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		w.t.Error(err)
	}
}

// compare fails the test when a file is not the content, byte for byte.
func (w *network) compare(name string) {
	w.t.Helper()
	if out, err := exec.Command("cmp", name, filepath.Join(w.dir, "www", w.file)).CombinedOutput(); err != nil {
		w.t.Errorf("%s: %v %s", name, err, out)
	}
	_ = os.Remove(name)
}

// wasteOf reads the waste from the done event, if there is one.
func wasteOf(out string) int64 {
	for line := range strings.Lines(out) {
		var e struct {
			Event string
			Waste int64
		}
		if json.NewDecoder(bytes.NewReader([]byte(line))).Decode(&e) == nil && e.Event == "done" {
			return e.Waste
		}
	}
	return 0
}
