package member

import (
	"bytes"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/metadatatest"
)

func TestAnchorsAreKept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	if _, err := ReadAnchors(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("before joining: %v", err)
	}
	ca := metadatatest.NewAuthority(t, "depot CA", time.Now())
	want := Anchors{Root: []byte("root"), Authority: ca.PEM}
	for range 2 {
		if err := want.Write(dir, false); err != nil {
			t.Fatal(err)
		}
	}
	got, err := ReadAnchors(dir)
	if err != nil || !bytes.Equal(got.Root, want.Root) || !bytes.Equal(got.Authority, want.Authority) {
		t.Errorf("%+v %v", got, err)
	}
	if pins, err := got.Pins(); err != nil || len(pins) != 1 || pins[0] != metadata.PinOf(ca.Cert) {
		t.Errorf("%v %v", pins, err)
	}
	other := Anchors{Root: []byte("other")}
	if err := other.Write(dir, false); !fault.Is(err, fault.Refused) || fault.Hint(err) == "" {
		t.Errorf("another organisation: %v", err)
	}
	if got, err := ReadAnchors(dir); err != nil || !bytes.Equal(got.Root, want.Root) {
		t.Errorf("after a refusal: %+v %v", got, err)
	}
	if err := other.Write(dir, true); err != nil {
		t.Error(err)
	}
}

func TestAnchorsThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, a := range map[string]Anchors{
		"no root":         {},
		"huge root":       {Root: make([]byte, MaxRoot+1)},
		"authority's DER": {Root: []byte("root"), Authority: []byte{0x30, 0x82}},
	} {
		dir := filepath.Join(t.TempDir(), "state")
		if err := a.Write(dir, false); !fault.Is(err, fault.Usage) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(rootFile(dir)); err == nil {
			t.Errorf("%s: it was written", name)
		}
	}
	for _, b := range [][]byte{[]byte("no PEM"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})} {
		if _, err := (Anchors{Authority: b}).Pins(); !fault.Is(err, fault.Usage) {
			t.Errorf("%q: %v", b, err)
		}
	}
}
