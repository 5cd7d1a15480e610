package bundle

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/store"
)

const errIO = syscall.EIO

// killEnv makes the test binary a victim: it works in the folder that the variable names until it is killed.
const killEnv = "DUNLIN_BUNDLE_VICTIM"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killEnv); dir != "" {
		if err := victim(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// victim exports from one store and imports into another.
func victim(dir string) error {
	ctx := context.Background()
	from, err := store.Open(filepath.Join(dir, "from"), store.Options{})
	if err != nil {
		return err
	}
	to, err := store.Open(filepath.Join(dir, "to"), store.Options{})
	if err != nil {
		return err
	}
	roots, err := from.Roots()
	if err != nil {
		return err
	}
	bundle := filepath.Join(dir, "bundle")
	if _, err := os.Stat(bundle); err != nil {
		if _, err := File(ctx, bundle, from, roots, nil); err != nil {
			return err
		}
	}
	f, err := os.Open(bundle)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = Import(ctx, f, to, nil)
	return err
}

// TestKill9 kills an export and an import again and again. In the end everything is there and right.
func TestKill9(t *testing.T) {
	t.Parallel()
	from := fullShop(t, 3<<20, 5<<20, 1000, 7<<20)
	dir := t.TempDir()
	if err := os.Rename(from.dir, filepath.Join(dir, "from")); err != nil {
		t.Fatal(err)
	}
	const kills = 12
	killed := 0
	for round := 0; round <= kills; round++ { // the last is left to end
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env, cmd.Stderr = append(os.Environ(), killEnv+"="+dir), os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if round < kills {
			defer time.AfterFunc(time.Duration(10+rand.IntN(30+20*round))*time.Millisecond, func() { _ = cmd.Process.Kill() }).Stop()
		}
		if err := cmd.Wait(); err == nil {
			break
		} else if cmd.ProcessState.ExitCode() >= 0 {
			t.Fatalf("round %d: it failed by itself: %v", round, err)
		}
		killed++
	}
	if killed == 0 {
		t.Error("it was never killed")
	}
	s, err := store.Open(filepath.Join(dir, "to"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	(&shop{t: t, Store: s}).mustHave(from)
}
