package agent

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

// refusal is a case of the list "refused": nothing is installed, the exit code says why, and once what was wrong is right
// again the next cycle succeeds without help.
type refusal struct {
	kind  fault.Kind
	spoil func(t *testing.T, w *world, u *metadata.Update, d *testDevice)
	mend  func(t *testing.T, w *world, u *metadata.Update, d *testDevice) // nil: publish anew, the origin behaves
	says  string                                                          // part of an error in the status or of the cycle
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]refusal{
		"a flipped bit in the payload at the only origin": {
			kind: fault.Untrusted,
			spoil: func(_ *testing.T, w *world, _ *metadata.Update, _ *testDevice) {
				w.origin.misbehave(w.origin.flip(50_000))
			},
			says: "piece 3",
		},
		"a flipped bit in the payload's signature": {
			kind: fault.Untrusted,
			spoil: func(_ *testing.T, w *world, u *metadata.Update, _ *testDevice) {
				w.resign(u, func(u *metadata.Update) { u.Signature.Inline = flipSignature(u.Signature.Inline) })
			},
			mend: func(_ *testing.T, w *world, u *metadata.Update, _ *testDevice) { w.resign(u, nil) },
			says: "signature",
		},
		"approved with another hash than the catalogue's": {
			kind: fault.Untrusted,
			spoil: func(_ *testing.T, w *world, u *metadata.Update, _ *testDevice) {
				w.acme.Add(u, append(payload(1, 100_000), 1))
				w.publish()
			},
			mend: func(_ *testing.T, w *world, u *metadata.Update, _ *testDevice) { w.resign(u, nil) },
			says: "what was approved has 100000 bytes",
		},
		"only origin gone": {
			kind: fault.Unavailable,
			spoil: func(_ *testing.T, w *world, _ *metadata.Update, _ *testDevice) {
				w.origin.misbehave(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
			},
		},
		"no room on the disk": {
			kind:  fault.Unavailable,
			spoil: func(_ *testing.T, _ *world, _ *metadata.Update, d *testDevice) { d.cfg.Limits.Reserve = 1 << 60 },
			mend:  func(_ *testing.T, _ *world, _ *metadata.Update, d *testDevice) { d.cfg.Limits.Reserve = 0 },
		},
		"nothing at the depot": {
			kind: fault.Unavailable,
			spoil: func(t *testing.T, w *world, _ *metadata.Update, _ *testDevice) {
				if err := os.RemoveAll(filepath.Join(w.depot, "v1")); err != nil {
					t.Fatal(err)
				}
			},
		},
		"approved but absent from the catalogue": {
			kind: fault.Refused,
			spoil: func(_ *testing.T, w *world, u *metadata.Update, _ *testDevice) {
				w.acme.Withdraw(u.ID, u.Version)
				w.publish()
			},
			mend: func(_ *testing.T, w *world, u *metadata.Update, _ *testDevice) { w.resign(u, nil) },
			says: "does not have it",
		},
		"a field in crit that nobody knows": {
			kind: fault.Refused,
			spoil: func(t *testing.T, w *world, u *metadata.Update, _ *testDevice) {
				w.addRaw(t, u, `"crit":["quantum"],"quantum":1`)
			},
			mend: func(_ *testing.T, w *world, u *metadata.Update, _ *testDevice) { w.resign(u, nil) },
			says: "quantum",
		},
		"a handler that this device does not allow": {
			kind:  fault.Refused,
			spoil: func(_ *testing.T, _ *world, _ *metadata.Update, d *testDevice) { d.cfg.Handlers = []string{"tree"} },
			mend:  func(_ *testing.T, _ *world, _ *metadata.Update, d *testDevice) { d.cfg.Handlers = nil },
			says:  "does not allow the handler file",
		},
		"an order to remove, which this version cannot": {
			kind: fault.Refused,
			spoil: func(t *testing.T, w *world, u *metadata.Update, d *testDevice) {
				d.must(0)
				w.resign(u, func(u *metadata.Update) { u.Removable = &metadata.Removal{} })
				w.approve(u, func(a *metadata.Approval) { a.Action = metadata.ActionRemove })
				w.target = t.TempDir() // what is there already is not what is looked for
			},
			mend: func(_ *testing.T, w *world, u *metadata.Update, _ *testDevice) {
				u.Destination = filepath.Join(w.target, u.ID)
				u.Release++
				w.resign(u, nil)
				w.approve(u, nil)
			},
			says: "cannot remove",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			app := payload(1, 100_000)
			u := w.offer("app", "1.0", 1, app)
			d := w.device(nil)
			c.spoil(t, w, u, d)
			a := d.agent()
			err := a.Once(t.Context())
			if fault.Of(err) != c.kind {
				t.Fatalf("%v (%v), want %v\n%s", err, fault.Of(err), c.kind, d.log.String())
			}
			if told := fmt.Sprint(err) + statusErrors(a.Status()); !strings.Contains(told, c.says) {
				t.Errorf("%q is not in %q", c.says, told)
			}
			d.has("app", nil)
			w.origin.misbehave(nil)
			if c.mend != nil {
				c.mend(t, w, u, d)
			}
			w.publish()
			d.must(0)
			d.has("app", app)
		})
	}
}

func statusErrors(s Status) string {
	var b strings.Builder
	for _, u := range s.Updates {
		if u.Error != nil {
			b.WriteString("; " + u.Error.Message)
		}
	}
	return b.String()
}

// resign publishes a record again, changed or as it was.
func (w *world) resign(u *metadata.Update, change func(*metadata.Update)) {
	w.t.Helper()
	c := *u
	if change != nil {
		change(&c)
	}
	w.acme.Add(&c, payload(1, 100_000))
	w.approve(&c, nil)
}

// addRaw publishes a record with more fields than this version knows.
func (w *world) addRaw(t *testing.T, u *metadata.Update, fields string) {
	t.Helper()
	path := metadata.CataloguePath(u.ID, u.Version)
	f := w.acme.Catalogue.Roles["targets"].Signed.Targets[path]
	custom := []byte(strings.Replace(string(*f.Custom), `{"v1":{`, `{"v1":{`+fields+`,`, 1))
	w.acme.Catalogue.AddTarget("targets", path, f.Length, [32]byte(f.Hashes["sha256"]), custom)
	w.acme.Catalogue.Publish("targets")
	w.publish()
}

// flipSignature flips one bit in the signature line of a minisign file.
func flipSignature(s string) string {
	lines := strings.Split(s, "\n")
	b := []byte(lines[1])
	if b[40] == 'A' {
		b[40] = 'B'
	} else {
		b[40] = 'A'
	}
	lines[1] = string(b)
	return strings.Join(lines, "\n")
}

// TestAFlippedBitInAnyMetadataFile flips one bit in each file that a depot serves, one after the other.
func TestAFlippedBitInAnyMetadataFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app := payload(1, 100_000)
	w.offer("app", "1.0", 1, app)
	tried := 0
	for name := range w.org.Served() {
		path := filepath.Join(w.depot, name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(good) == 0 || !asked(w, name) {
			continue
		}
		tried++
		bad := bytes.Clone(good)
		bad[len(bad)/2] ^= 1
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		d := w.device(nil)
		_, err = d.once()
		if fault.Of(err) != fault.Untrusted {
			t.Errorf("%s: %v (%v)", name, err, fault.Of(err))
		}
		d.has("app", nil)
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
		d.must(0)
		d.has("app", app)
		if err := os.Remove(filepath.Join(w.target, "app")); err != nil {
			t.Fatal(err)
		}
	}
	if tried < 9 {
		t.Errorf("only %d files were tried", tried)
	}
}

// asked reports whether a device that comes anew asks for a file at all: not for what newer versions have replaced, nor
// for the root it has been given.
func asked(w *world, name string) bool {
	base := filepath.Base(name)
	version, role, ok := strings.Cut(strings.TrimSuffix(base, ".json"), ".")
	n, err := strconv.ParseInt(version, 10, 64)
	if !ok || err != nil || strings.Contains(name, "/targets/") || strings.Contains(name, "/layer/") {
		return true
	}
	repo := w.org.Approvals
	if strings.HasPrefix(name, metadata.CataloguesPath) {
		repo = w.acme.Catalogue
	}
	switch role {
	case "root":
		return n > 1 && n == repo.Root.Signed.Version
	case "snapshot":
		return n == repo.Snapshot.Signed.Version
	default:
		return n == repo.Roles[role].Signed.Version
	}
}

func TestGarbageAtTheDepot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app := payload(1, 20_000)
	w.offer("app", "1.0", 1, app)
	d := w.device(nil)
	for name := range w.org.Served() {
		if err := os.WriteFile(filepath.Join(w.depot, name), []byte("<html><body>It works!</body></html>"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := d.once()
	if k := fault.Of(err); k != fault.Unavailable {
		t.Errorf("%v (%v)", err, k)
	}
	if s.Cycle.Sync == nil || s.Cycle.Sync.Hint == "" {
		t.Errorf("%+v says nothing to go on with", s.Cycle.Sync)
	}
	w.publish()
	d.must(0)
	d.has("app", app)
}

func TestHostileArchive(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "outside")
	for name, h := range map[string]tar.Header{
		"climbs out":       {Name: "../../outside", Typeflag: tar.TypeReg, Mode: 0o644},
		"absolute":         {Name: outside, Typeflag: tar.TypeReg, Mode: 0o644},
		"link that leaves": {Name: "link", Linkname: "../../..", Typeflag: tar.TypeSymlink},
		"device":           {Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			tree := func(u *metadata.Update) { u.Handler, u.Uncompressed = metadata.HandlerTree, 1<<20 }
			w.approve(w.release("app", "1.0", 1, tarOf(t, h), tree), nil)
			d := w.device(nil)
			d.must(fault.Untrusted)
			if _, err := os.Lstat(filepath.Join(w.target, "app")); err == nil {
				t.Error("something was installed")
			}
			if _, err := os.Lstat(outside); err == nil {
				t.Error("something was written outside")
			}
			w.approve(w.release("app", "1.1", 2, tarOf(t, tar.Header{Name: "bin", Typeflag: tar.TypeReg, Mode: 0o755}), tree), nil)
			d.must(0)
			if _, err := os.Stat(filepath.Join(w.target, "app", "bin")); err != nil {
				t.Error(err)
			}
		})
	}
}

func tarOf(t *testing.T, h tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	body := []byte(nil)
	if h.Typeflag == tar.TypeReg {
		body = []byte("content")
	}
	h.Size = int64(len(body))
	if err := tw.WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	if _, err := tw.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestHealed is the list "healed": a cycle that succeeds all the same.
func TestHealed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		arrange func(t *testing.T, w *world, d *testDevice, app []byte)
		check   func(t *testing.T, e Update)
	}{
		"no peer at all": {
			arrange: func(_ *testing.T, _ *world, d *testDevice, app []byte) { d.withPeers(app, 0, 0, nil) },
		},
		"a peer that lies": {
			arrange: func(_ *testing.T, _ *world, d *testDevice, app []byte) {
				d.withPeers(app, 1, 1, func(p *fetchtest.Device) { p.Lying = true })
			},
			check: func(t *testing.T, e Update) {
				t.Helper()
				if e.Transfer.Waste == 0 || e.Transfer.From.Origin == 0 {
					t.Errorf("%+v", e.Transfer)
				}
			},
		},
		"a peer that stalls": {
			arrange: func(_ *testing.T, _ *world, d *testDevice, app []byte) {
				d.withPeers(app, 1, 1, func(p *fetchtest.Device) { p.Mute = true })
			},
		},
		"the origin is gone and a peer has everything": {
			arrange: func(_ *testing.T, w *world, d *testDevice, app []byte) {
				d.withPeers(app, 1, 1, nil)
				w.origin.misbehave(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
			},
		},
		"the depot does not give the piece layer, a peer does": {
			arrange: func(t *testing.T, w *world, d *testDevice, app []byte) {
				t.Helper()
				d.withPeers(app, 1, 1, nil)
				if err := os.RemoveAll(filepath.Join(w.depot, "v1", "layer")); err != nil {
					t.Fatal(err)
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			app := payload(1, 300_000)
			w.offer("app", "1.0", 1, app)
			d := w.device(nil)
			c.arrange(t, w, d, app)
			s := d.must(0)
			d.has("app", app)
			if c.check != nil {
				c.check(t, entry(t, s, "app", "1.0"))
			}
		})
	}
}

// TestOneOriginOfSeveralIsBad has a bad origin before a good one.
func TestOneOriginOfSeveralIsBad(t *testing.T) {
	t.Parallel()
	app := payload(1, 100_000)
	for name, h := range map[string]http.HandlerFunc{
		"html": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>log in first</html>") },
		"truncated": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100000")
			w.Header().Set("Content-Range", "bytes 0-99999/100000")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(app[:30_000])
		},
		"endless": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		},
		"another range": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 7-99999/100000")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(app[7:])
		},
		"reset": func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				c.Close()
			}
		},
		"lies": func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(make([]byte, len(app))))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			bad := httptest.NewServer(h)
			t.Cleanup(bad.Close)
			w.org.SetFleet(metadata.Fleet{Origins: []string{bad.URL, w.origin.URL}, Group: "lan"})
			w.offer("app", "1.0", 1, app)
			d := w.device(nil)
			d.must(0)
			d.has("app", app)
		})
	}
}

// TestRotInTheStoreIsMended: what is damaged is fetched again, and nothing else.
func TestRotInTheStoreIsMended(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app := payload(1, 100_000)
	u := w.offer("app", "1.0", 1, app)
	d := w.device(nil)
	d.must(0)
	w.origin.bytes()
	if err := os.Remove(filepath.Join(w.target, "app")); err != nil {
		t.Fatal(err)
	}
	flipOnDisk(t, d.sealed(u.Root), 40_000)
	s := d.must(0)
	d.has("app", app)
	if got := w.origin.bytes(); got != u.PieceLength {
		t.Errorf("%d bytes were fetched, one piece has %d", got, u.PieceLength)
	}
	if e := entry(t, s, "app", "1.0"); e.Transfer.From.Origin != u.PieceLength {
		t.Errorf("%+v", e.Transfer)
	}
}

func flipOnDisk(t *testing.T, path string, at int64) {
	t.Helper()
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// TestAnInterruptedDownloadGoesOn: what was verified is kept.
func TestAnInterruptedDownloadGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app := payload(1, 400_000)
	w.offer("app", "1.0", 1, app)
	d := w.device(nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const cut = 200_000
	w.origin.misbehave(w.origin.stallAt(cut, func() { time.AfterFunc(300*time.Millisecond, cancel) }))
	if _, err := d.onceFor(ctx); !fault.Is(err, fault.Unavailable) {
		t.Fatalf("%v", err)
	}
	d.has("app", nil)
	w.origin.misbehave(nil)
	w.origin.bytes()
	s := d.must(0)
	d.has("app", app)
	if got := w.origin.bytes(); got > int64(len(app)-cut+metadataPiece) {
		t.Errorf("%d bytes were fetched although %d were there", got, cut)
	}
	if e := entry(t, s, "app", "1.0"); e.Transfer.Resumed < cut-metadataPiece {
		t.Errorf("%+v", e.Transfer)
	}
}

const metadataPiece = 16 << 10 // the piece length of metadatatest

// TestDamagedLocalMetadataHeals damages every file that the agent keeps of its metadata.
func TestDamagedLocalMetadataHeals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app := payload(1, 20_000)
	w.offer("app", "1.0", 1, app)
	d := w.device(nil)
	d.must(0)
	damaged := 0
	err := filepath.WalkDir(stateDir(d.cfg.StateDir).metadata(), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil || len(b) == 0 {
			return err
		}
		damaged++
		b[len(b)/2] ^= 1
		return os.WriteFile(path, b, 0o600)
	})
	if err != nil || damaged < 5 {
		t.Fatalf("%d files: %v", damaged, err)
	}
	newer := payload(2, 20_000)
	w.offer("app", "1.1", 2, newer)
	d.must(0)
	d.has("app", newer)
}

// TestTheDepotIsGone: what was signed goes on to hold, the exit code says that the depot did not answer.
func TestTheDepotIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app := payload(1, 20_000)
	w.offer("app", "1.0", 1, app)
	d := w.device(nil)
	w.origin.misbehave(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	d.must(fault.Unavailable)
	w.origin.misbehave(nil)
	if err := os.RemoveAll(filepath.Join(w.depot, "v1", "approvals")); err != nil {
		t.Fatal(err)
	}
	s := d.must(fault.Unavailable)
	d.has("app", app)
	if s.Cycle.Sync == nil || s.Cycle.Sync.Kind != "unavailable" {
		t.Errorf("%+v", s.Cycle)
	}
}

// TestSignatureURL: a publisher says where the signature is, and cannot send the device into its own network with it.
func TestSignatureURL(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app := payload(1, 60_000)
	var asked atomic.Int64
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(inside.Close)
	var signature string
	u := w.release("app", "1.0", 1, app, func(u *metadata.Update) {
		signature = u.Signature.Inline
		u.Signature.Inline, u.Signature.URL = "", inside.URL+"/app.minisig"
	})
	w.approve(u, nil)
	d := w.device(nil)
	s := d.must(fault.Unavailable)
	if e := entry(t, s, "app", "1.0").Error; e == nil || asked.Load() != 0 {
		t.Errorf("%+v after %d requests inside", e, asked.Load())
	}
	d.has("app", nil)

	w.origin.put("/app.minisig", []byte(signature))
	own := *u
	own.Signature.URL = w.origin.URL + "/app.minisig"
	w.acme.Add(&own, app)
	w.approve(&own, nil)
	d.must(0)
	d.has("app", app)
}
