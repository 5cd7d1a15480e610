package approved

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/member"
)

func TestEnrolmentIsKept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "node")
	if _, _, err := ReadEnrolment(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("before joining: %v", err)
	}
	e := Enrolment{Depots: []string{"https://depot"}, Content: []string{"http://depot"}, Rings: []string{"pilot", "broad"}, Groups: []string{"ward"}}
	anchors := member.Anchors{Root: []byte("root")}
	if err := e.Write(dir, anchors, false); err != nil {
		t.Fatal(err)
	}
	e.Format = enrolmentFormat
	if got, a, err := ReadEnrolment(dir); err != nil || !reflect.DeepEqual(got, e) || !reflect.DeepEqual(a, member.Anchors{Root: []byte("root"), Authority: []byte{}}) {
		t.Errorf("%+v %+v %v", got, a, err)
	}
	if err := e.Write(dir, member.Anchors{Root: []byte("other")}, false); !fault.Is(err, fault.Refused) {
		t.Errorf("another organisation: %v", err)
	}
	if err := e.Write(dir, member.Anchors{Root: []byte("other")}, true); err != nil {
		t.Error(err)
	}
	for name, text := range map[string]string{
		"cut off": `{"format":`, "another format": `{"format":"x","depots":["https://d"],"rings":["a"]}`, "unknown key": `{"format":"` + enrolmentFormat + `","x":1}`,
		"no ring": `{"format":"` + enrolmentFormat + `","depots":["https://d"]}`,
	} {
		if err := os.WriteFile(enrolmentFile(dir), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := ReadEnrolment(dir); !fault.Is(err, fault.Usage) || errors.Is(err, fs.ErrNotExist) || fault.Hint(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEnrolmentIsChecked(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]Enrolment{
		"no depot":       {Rings: []string{"pilot"}},
		"no ring":        {Depots: []string{"https://depot"}},
		"no ring's name": {Depots: []string{"https://depot"}, Rings: []string{"A"}},
		"no URL":         {Depots: []string{"depot"}, Rings: []string{"pilot"}},
		"too many":       {Depots: []string{"https://depot"}, Rings: []string{"pilot"}, Groups: make([]string, maxEntries+1)},
	} {
		dir := filepath.Join(t.TempDir(), "node")
		if err := e.Write(dir, member.Anchors{Root: []byte("root")}, false); !fault.Is(err, fault.Usage) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: something was written", name)
		}
	}
}
