package agent

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/member"
)

func TestDeviceKeyStays(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	first, err := DeviceKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := DeviceKey(dir)
	if err != nil || !first.Equal(again) || DeviceID(first) != DeviceID(again) || len(DeviceID(first)) != 32 {
		t.Errorf("the second time: %v", err)
	}
	info, err := os.Stat(stateDir(dir).deviceKey())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if other, err := DeviceKey(filepath.Join(t.TempDir(), "state")); err != nil || other.Equal(first) {
		t.Errorf("another device has the same key: %v", err)
	}
}

func TestADamagedDeviceKeyIsNotReplaced(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", strings.Repeat("x", maxDeviceKey+1)} {
		dir := filepath.Join(t.TempDir(), "state")
		if err := stateDir(dir).make(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(stateDir(dir).deviceKey(), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := DeviceKey(dir); err == nil {
			t.Errorf("%.20q was taken", bad)
		}
		if b, err := os.ReadFile(stateDir(dir).deviceKey()); err != nil || string(b) != bad {
			t.Error("it was changed")
		}
	}
}

func TestAnOpenStateFolderIsRefused(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := DeviceKey(dir); !fault.Is(err, fault.Refused) {
		t.Errorf("%v", err)
	}
}

func enrolment(dir string) Enrolment {
	return Enrolment{
		Depots: []string{"file:///srv/depot"}, ContentURLs: []string{"http://depot"}, ApprovalsRoot: []byte("{}"),
		Ring: "pilot", StateDir: dir,
	}
}

func TestWriteConfig(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	path, dir := filepath.Join(base, "etc", "agent.yaml"), filepath.Join(base, "state")
	e := enrolment(dir)
	if err := WriteConfig(path, e); err != nil {
		t.Fatal(err)
	}
	got, err := ReadConfig(path)
	want := Config{Depots: e.Depots, Content: e.ContentURLs, Ring: "pilot", StateDir: dir}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, got, want)
	}
	a, err := stateDir(dir).anchors()
	if err != nil || !bytes.Equal(a.Root, e.ApprovalsRoot) || len(a.Authority) != 0 {
		t.Errorf("%q %q %v", a.Root, a.Authority, err)
	}
}

func TestEnrollingAgainKeepsTheOtherSettings(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	path, dir := filepath.Join(base, "agent.yaml"), filepath.Join(base, "state")
	text := "depots: [file:///old]\nring: old\nlabels: {site: berlin}\nlimits: {origin: 1MiB}\nstate_dir: " + dir + "\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	e := enrolment("")
	for range 2 {
		if err := WriteConfig(path, e); err != nil {
			t.Fatal(err)
		}
	}
	got, err := ReadConfig(path)
	if err != nil || got.Labels["site"] != "berlin" || got.Limits.Origin != 1<<20 || got.Ring != "pilot" || got.Depots[0] != e.Depots[0] {
		t.Errorf("%v %+v", err, got)
	}
	if _, err := stateDir(dir).anchors(); err != nil {
		t.Error(err)
	}
}

func TestAnotherOrganisationNeedsReplace(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	path, dir := filepath.Join(base, "agent.yaml"), filepath.Join(base, "state")
	e := enrolment(dir)
	if err := WriteConfig(path, e); err != nil {
		t.Fatal(err)
	}
	e.ApprovalsRoot, e.Ring = []byte(`{"other":1}`), "other"
	if err := WriteConfig(path, e); !fault.Is(err, fault.Refused) || fault.Hint(err) == "" {
		t.Errorf("%v", err)
	}
	if got, err := ReadConfig(path); err != nil || got.Ring != "pilot" {
		t.Errorf("it was changed: %v %+v", err, got)
	}
	e.Replace = true
	if err := WriteConfig(path, e); err != nil {
		t.Error(err)
	}
}

func TestWriteConfigRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Enrolment){
		"no root":        func(e *Enrolment) { e.ApprovalsRoot = nil },
		"huge root":      func(e *Enrolment) { e.ApprovalsRoot = make([]byte, member.MaxRoot+1) },
		"bad authority":  func(e *Enrolment) { e.CAPEM = []byte("x") },
		"no depot":       func(e *Enrolment) { e.Depots = nil },
		"bad ring":       func(e *Enrolment) { e.Ring = "../x" },
		"relative state": func(e *Enrolment) { e.StateDir = "state" },
	} {
		base := t.TempDir()
		e := enrolment(filepath.Join(base, "state"))
		change(&e)
		path := filepath.Join(base, "agent.yaml")
		if err := WriteConfig(path, e); !fault.Is(err, fault.Usage) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s: the configuration was written", name)
		}
	}
}
