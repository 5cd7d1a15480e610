package publish

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/repository/keys"
)

var morning = time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)

func newPublisher(t *testing.T) *Publisher {
	t.Helper()
	c := Config{
		Dir: filepath.Join(t.TempDir(), "acme"), WorkFactor: keys.MinWorkFactor,
		Unlock: func() ([]byte, error) { return []byte("correct horse"), nil },
	}
	if _, err := Init(t.Context(), c, InitRequest{}, morning); err != nil {
		t.Fatal(err)
	}
	p, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func request(t *testing.T, content, version string) AddRequest {
	t.Helper()
	path := filepath.Join(t.TempDir(), "payload")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return AddRequest{File: path, Update: metadata.Update{
		ID: "editor", Version: version, Kind: metadata.KindApp, Handler: metadata.HandlerFile, Destination: "/opt/editor",
	}}
}

// versions asks the way a depot does what is published.
func versions(t *testing.T, p *Publisher) []string {
	t.Helper()
	b, err := os.ReadFile(p.trust())
	if err != nil {
		t.Fatal(err)
	}
	trust, err := metadata.ParseTrust(b)
	if err != nil {
		t.Fatal(err)
	}
	m, err := metadata.NewMirror(metadata.MirrorConfig{Dir: filepath.Join(t.TempDir(), "mirror"), Trust: trust})
	if err != nil {
		t.Fatal(err)
	}
	c, err := m.Sync(t.Context(), morning)
	if err != nil {
		t.Fatalf("a depot refuses the catalogue: %v", err)
	}
	out := []string{}
	for _, x := range c.Targets() {
		out = append(out, x.Update.Version)
	}
	return out
}

// oneAndTwo has 1.0 released and 2.0 staged. It returns the staged list and the timestamp as they stand then.
func oneAndTwo(t *testing.T) (p *Publisher, list, timestamp []byte) {
	t.Helper()
	p = newPublisher(t)
	for _, v := range []string{"1.0", "2.0"} {
		if _, err := p.Release(t.Context(), morning, false); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Add(t.Context(), request(t, "payload "+v, v), morning); err != nil {
			t.Fatal(err)
		}
	}
	list, err1 := os.ReadFile(p.staged())
	timestamp, err2 := os.ReadFile(filepath.Join(p.metadata(), "timestamp.json"))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return p, list, timestamp
}

// wantAll releases once more and expects both versions and an empty list.
func wantAll(t *testing.T, p *Publisher, signs bool) {
	t.Helper()
	r, err := p.Release(t.Context(), morning, false)
	if err != nil || len(r.Signed) > 0 != signs {
		t.Errorf("the next release: signed %v, %v", r.Signed, err)
	}
	if got := versions(t, p); !slices.Equal(got, []string{"1.0", "2.0"}) {
		t.Errorf("in the end %v", got)
	}
	if _, err := os.Lstat(p.staged()); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the list is still there")
	}
}

// A release that was cut before the record was replaced has not happened.
func TestReleaseCutBeforeTheRecord(t *testing.T) {
	t.Parallel()
	p, _, _ := oneAndTwo(t)
	lock := p.record() + ".lock" // in its place a folder, so that nothing can be written
	if err := errors.Join(os.Remove(lock), os.Mkdir(lock, 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Release(t.Context(), morning, false); err == nil {
		t.Error("released")
	}
	if got := versions(t, p); !slices.Equal(got, []string{"1.0"}) {
		t.Errorf("%v", got)
	}
	if err := os.Remove(lock); err != nil {
		t.Fatal(err)
	}
	wantAll(t, p, true)
}

// One that was cut after it is completed by the next refresh, and running it again does no harm.
func TestReleaseCutAfterTheRecord(t *testing.T) {
	t.Parallel()
	p, list, timestamp := oneAndTwo(t)
	if _, err := p.Release(t.Context(), morning, false); err != nil {
		t.Fatal(err)
	}
	// As if the last two steps had not come.
	err := errors.Join(os.WriteFile(filepath.Join(p.metadata(), "timestamp.json"), timestamp, 0o644), os.WriteFile(p.staged(), list, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	if got := versions(t, p); !slices.Equal(got, []string{"1.0"}) {
		t.Errorf("%v", got)
	}
	if _, err := p.Refresh(t.Context(), morning, false); err != nil {
		t.Fatal(err)
	}
	if got := versions(t, p); !slices.Equal(got, []string{"1.0", "2.0"}) {
		t.Errorf("after a refresh %v", got)
	}
	wantAll(t, p, false)
}

func TestReleaseCutBeforeTheListWasEmptied(t *testing.T) {
	t.Parallel()
	p, list, _ := oneAndTwo(t)
	if _, err := p.Release(t.Context(), morning, false); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.staged(), list, 0o600); err != nil {
		t.Fatal(err)
	}
	wantAll(t, p, false)
}

// What an add that was killed leaves: a partial copy under a hidden name, or content that nothing names.
func TestInterruptedAdd(t *testing.T) {
	t.Parallel()
	p := newPublisher(t)
	partial := filepath.Join(p.contents(), strings.Replace(tempContents, "*", "123", 1))
	if err := os.WriteFile(partial, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Add(t.Context(), request(t, "one", "1.0"), morning); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(partial); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the partial copy is still there")
	}
	if err := os.Remove(p.staged()); err != nil { // killed just before it was staged
		t.Fatal(err)
	}
	if r, err := p.Release(t.Context(), morning, false); err != nil || len(r.Signed) != 0 {
		t.Errorf("%+v %v", r, err)
	}
	if _, err := p.Add(t.Context(), request(t, "one", "1.0"), morning); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Release(t.Context(), morning, false); err != nil {
		t.Fatal(err)
	}
	if got := versions(t, p); !slices.Equal(got, []string{"1.0"}) {
		t.Errorf("%v", got)
	}
}

// The payload in the public folder may have been exchanged since; what is served again is what was hashed now.
func TestAddNeverBelievesThePublicFolder(t *testing.T) {
	t.Parallel()
	p := newPublisher(t)
	a, err := p.Add(t.Context(), request(t, "genuine", "1.0"), morning)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.Content, []byte("forged!"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Add(t.Context(), request(t, "genuine", "1.0"), morning); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(a.Content); err != nil || string(b) != "genuine" {
		t.Errorf("%q %v", b, err)
	}
}

// A file that grows while it is read is not ready.
func TestGrowingPayload(t *testing.T) {
	t.Parallel()
	p := newPublisher(t)
	q := request(t, strings.Repeat("x", 4<<20), "1.0")
	var once bool
	q.Progress = func(phase Phase, _, _ int64) {
		if phase != PhaseCopy || once {
			return
		}
		once = true
		f, err := os.OpenFile(q.File, os.O_APPEND|os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString("more")
		}
		if err := errors.Join(err, f.Close()); err != nil {
			t.Error(err)
		}
	}
	if _, err := p.Add(t.Context(), q, morning); err == nil || !strings.Contains(err.Error(), "changed its length") {
		t.Errorf("got %v", err)
	}
}

func TestTwoPublishersAtOnce(t *testing.T) {
	t.Parallel()
	p := newPublisher(t)
	done := make(chan error)
	for _, v := range []string{"1.0", "2.0", "3.0"} {
		q := request(t, "payload "+v, v)
		go func() {
			_, err := p.Add(t.Context(), q, morning)
			if err == nil {
				_, err = p.Release(t.Context(), morning, false)
			}
			done <- err
		}()
	}
	for range 3 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got := versions(t, p); len(got) != 3 {
		t.Errorf("%v", got)
	}
	l, err := p.List(morning)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range l.Updates {
		if e.Release != int64(i+1) {
			t.Errorf("%s has release %d", e.Version, e.Release)
		}
	}
}

// What is staged gets signed, so a planted or damaged list must not pass.
func TestPlantedStagedList(t *testing.T) {
	t.Parallel()
	p := newPublisher(t)
	if _, err := p.Add(t.Context(), request(t, "one", "1.0"), morning); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(p.staged())
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"another path":   bytes.Replace(good, []byte(`"editor/1.0"`), []byte(`"editor/2.0"`), 1),
		"another format": bytes.Replace(good, []byte(stagedFormat), []byte("x"), 1),
		"no record":      []byte(`{"format":"dunlin-staged/1","targets":{"a/1":{"length":1,"sha256":"` + strings.Repeat("0", 64) + `","custom":{}}},"withdrawn":[]}`),
		"empty payload":  bytes.Replace(good, []byte(`"length": 3`), []byte(`"length": 0`), 1),
		"oversize":       append(good, bytes.Repeat([]byte(" "), maxSettings)...),
	} {
		if err := os.WriteFile(p.staged(), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Release(t.Context(), morning, false); err == nil {
			t.Errorf("%s: was released", name)
		}
	}
	if got := versions(t, p); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func FuzzStaged(f *testing.F) {
	f.Add([]byte(`{"format":"dunlin-staged/1","targets":{},"withdrawn":[]}`))
	f.Add([]byte(`{"format":"dunlin-staged/1","targets":{"a/1":{"length":1,"sha256":"","custom":{"v1":{}}}},"withdrawn":["x"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := new(staged)
		if decode(b, s) != nil || s.check() != nil {
			return
		}
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		again := new(staged)
		if err := errors.Join(decode(text, again), again.check()); err != nil || len(again.Targets) != len(s.Targets) {
			t.Errorf("does not read what it wrote: %v", err)
		}
	})
}

func FuzzSettings(f *testing.F) {
	f.Add([]byte(`{"format":"dunlin-publisher/1","publisher":"acme","catalogues":[],"ca":"","pins":[],"payload":[],"keys":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := new(settings)
		if decode(b, s) != nil {
			return
		}
		if text, err := s.trust([]byte("{}")).Encode(); err == nil {
			if _, err := metadata.ParseTrust(text); err != nil {
				t.Error(err)
			}
		}
	})
}
