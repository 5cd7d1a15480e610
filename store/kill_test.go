package store

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// killEnv makes the test binary a victim: it downloads into the folder that the variable names until it is killed.
const killEnv = "DUNLIN_STORE_VICTIM"

// killPieces are enough that a run never gets through them between two kills.
const killPieces = 2000

func TestMain(m *testing.M) {
	if dir := os.Getenv(killEnv); dir != "" {
		victim(dir)
		return
	}
	os.Exit(m.Run())
}

// victim puts pieces in a random order, syncing now and then, and says which ones it has put.
func victim(dir string) {
	t := &testing.B{}
	s := newSample(t, killPieces)
	p, err := BeginAt(context.Background(), filepath.Join(dir, "f"), s.m, Options{WholeHash: true})
	if err != nil {
		fmt.Println("error", err)
		return
	}
	for n, i := range rand.Perm(killPieces) {
		if p.Has(i) {
			continue
		}
		if n%50 == 0 {
			p.unsynced.Store(syncBytes)
		}
		if _, err := p.Put(i, s.piece(i)); err != nil {
			fmt.Println("error", err)
			return
		}
		fmt.Println(i)
	}
}

// TestKill9 kills a download again and again at random moments. Every piece whose Put had returned must be there after
// each restart (the kernel still has what was written), and right.
func TestKill9(t *testing.T) {
	t.Parallel()
	s := newSample(t, killPieces)
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	said := map[int]bool{}
	for round := range 4 {
		runVictim(t, dir, time.Duration(rand.IntN(60))*time.Millisecond, said)
		p := beginAt(t, path, s)
		for i := range said {
			if !p.Has(i) {
				t.Errorf("round %d: piece %d was put and is gone", round, i)
			}
		}
		mustBeRight(t, s, p)
		for i := range said {
			if !p.Has(i) {
				t.Errorf("round %d: piece %d was damaged", round, i)
			}
		}
		crash(p)
	}
	if len(said) == 0 {
		t.Error("the victim never got to put anything")
	}
	p := closing(t, beginAt(t, path, s))
	checkFile(t, closing(t, finish(t, s, p)), s, path)
}

// runVictim runs the victim, kills it some time after its first piece, and collects what it said.
func runVictim(t *testing.T, dir string, after time.Duration, said map[int]bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), killEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	try(t, err, cmd.Start())
	lines := bufio.NewScanner(out)
	var timer *time.Timer
	for lines.Scan() {
		i, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Errorf("victim: %s", lines.Text())
			continue
		}
		said[i] = true
		if timer == nil {
			timer = time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		}
	}
	if timer != nil {
		timer.Stop()
	}
	_ = cmd.Wait() // it was killed
}
