package agent

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/httpfallback/cachehost"
	"github.com/dunlin-project/dunlin/internal/fault"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; if that is meant: go test ./agent -update\n%s", name, got)
	}
}

func exampleStatus() Status {
	at := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	bad := fault.WithHint(fault.New(fault.Untrusted, "check payload: it is not what was signed"), "ask the publisher")
	return Status{
		Device: "0123456789abcdef0123456789abcdef", Version: "1.2.3", Ring: "pilot", Group: "lan", Running: true, At: at,
		Next:    at.Add(40 * time.Minute),
		Cycle:   &Cycle{Started: at.Add(-time.Minute), Ended: at, Result: "untrusted", Sync: failure(fault.New(fault.Unavailable, "depot does not answer"))},
		Expires: []Expiry{{Role: "approvals", Expires: at.Add(50 * time.Hour)}, {Role: "catalogue", Name: "acme", Expires: at.Add(-time.Hour)}},
		Caches: []cachehost.Node{
			{URL: "http://cache.example:7681", Source: cachehost.Static, State: cachehost.Ready},
			{URL: "http://192.0.2.7:7681", Source: cachehost.LAN, State: cachehost.Silent, Until: at.Add(30 * time.Second)},
		},
		Updates: []Update{
			{Publisher: "acme", ID: "agent", Version: "2.0", Release: 7, Action: "install", State: StateFailed, Error: failure(bad), Since: at},
			{Publisher: "acme", ID: "bios", Version: "1", Release: 1, State: StateNotApproved},
			{
				Publisher: "acme", ID: "tool", Version: "1.0", Release: 3, Title: "A tool", Action: "install", State: StateInstalled,
				Since: at, SHA256: strings.Repeat("0", 64), Reboot: true,
				Transfer: &Transfer{Content: 10 << 20, Resumed: 1 << 20, From: fetch.From{Origin: 2 << 20, Peers: 8 << 20}, Waste: 1 << 20, Members: 2, Seconds: 1.5},
			},
			{
				Publisher: "acme", ID: "wallpaper", Version: "1\x1b[31m", Release: 1, Action: "install", State: StateDownloading,
				Transfer: &Transfer{Content: 1000, From: fetch.From{Origin: 500, Cache: 250}, Seconds: 0.25, Sources: &fetch.View{
					Sources: []fetch.Source{{ID: "12D3KooWabcdefgh", Role: "cache", Bytes: 250, Rate: 1000, Queue: 0.5, InFlight: 500, Standing: fetch.WindowSet}},
					Origin:  fetch.OriginView{By: map[string]int64{"own": 500}, Rate: 2000, Streams: 1, Site: 1, Standing: fetch.Drawing},
				}},
			},
		},
		Dropped: 3,
	}
}

func TestStatusForPeople(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	s := exampleStatus()
	if err := s.Write(&b, s.At); err != nil {
		t.Fatal(err)
	}
	s.Running, s.Updates, s.Cycle, s.Dropped = false, nil, nil, 0
	if err := s.Write(&b, s.At.Add(3*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	golden(t, "status.golden.txt", b.Bytes())
}

func TestStatusIsKept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	if _, err := ReadStatus(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before there is one: %v", err)
	}
	if err := stateDir(dir).make(); err != nil {
		t.Fatal(err)
	}
	want := exampleStatus()
	if err := saveStatus(stateDir(dir), want); err != nil {
		t.Fatal(err)
	}
	got, err := ReadStatus(dir)
	want.Running = false // nobody says so now
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, got, want)
	}
	for _, bad := range []string{"", "{", "[]", strings.Repeat(" ", maxStatus+1)} {
		if err := os.WriteFile(stateDir(dir).status(), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadStatus(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}

func TestBoardGivesCopies(t *testing.T) {
	t.Parallel()
	var b board
	b.set(Update{Publisher: "p", ID: "b", State: StatePending})
	b.set(Update{Publisher: "p", ID: "a", State: StatePending})
	before := b.get(time.Now())
	b.set(Update{Publisher: "p", ID: "b", State: StateInstalled})
	b.change(func(s *Status) { s.Cycle = &Cycle{Result: "ok"} })
	if len(before.Updates) != 2 || before.Updates[0].ID != "a" || before.Updates[1].State != StatePending || before.Cycle != nil {
		t.Errorf("%+v", before)
	}
	if after := b.get(time.Now()); len(after.Updates) != 2 || after.Updates[1].State != StateInstalled {
		t.Errorf("%+v", after)
	}
}

func TestBoardKeepsWhatMatters(t *testing.T) {
	t.Parallel()
	var b board
	var all []Update
	for i := range 3 * maxUpdates {
		state := []State{StateNotApproved, StateNotApplicable, StateFailed}[i%3]
		if i > 30 && state == StateFailed {
			state = StateNotApproved
		}
		all = append(all, Update{Publisher: "p", ID: fmt.Sprint(i), State: state})
	}
	b.list(all)
	s := b.get(time.Now())
	count := make(map[State]int)
	for _, u := range s.Updates {
		count[u.State]++
	}
	if len(s.Updates) != maxUpdates || s.Dropped != 2*maxUpdates || count[StateFailed] != 10 || count[StateNotApplicable] != 0 {
		t.Errorf("%d entries, %d dropped, %v", len(s.Updates), s.Dropped, count)
	}
}

func TestTransferAddsUp(t *testing.T) {
	t.Parallel()
	var tr *Transfer
	tr = tr.add(fetch.Stats{Content: 100, Resumed: 10, From: fetch.From{Origin: 60, Peers: 40}, Waste: 10, Members: 3, Elapsed: time.Second})
	tr = tr.add(fetch.Stats{Content: 100, Resumed: 90, From: fetch.From{Origin: 10, Cache: 5}, Waste: 5, Members: 1, Elapsed: time.Second})
	want := Transfer{Content: 100, Resumed: 10, From: fetch.From{Origin: 70, Cache: 5, Peers: 40}, Waste: 15, Members: 3, Seconds: 2}
	if *tr != want {
		t.Errorf("got %+v, want %+v", *tr, want)
	}
}
