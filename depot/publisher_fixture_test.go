package depot

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/repository"
	"github.com/dunlin-project/dunlin/metadata/repository/ca"
	"github.com/dunlin-project/dunlin/metadata/repository/keys"
	"github.com/dunlin-project/dunlin/piecehash"
)

// vendor is a real publisher: a signed catalogue with content in a folder, which can also be served.
type vendor struct {
	name    string
	dir     string // what a web server would serve
	repo    *repository.Repository
	signers []crypto.Signer
	trust   *metadata.Trust
	keyID   string
	hook    atomic.Pointer[http.HandlerFunc] // takes the place of the folder when it is set
}

func newVendor(t *testing.T, name string) *vendor {
	t.Helper()
	v := &vendor{name: name, dir: filepath.Join(t.TempDir(), "public")}
	var pubs []crypto.PublicKey
	for range 4 {
		k, err := keys.NewEd25519()
		if err != nil {
			t.Fatal(err)
		}
		v.signers, pubs = append(v.signers, k), append(pubs, k.Public())
	}
	var err error
	v.repo, err = repository.Create(t.Context(), repository.Config{
		Public: filepath.Join(v.dir, "metadata"), Record: filepath.Join(t.TempDir(), "private", "record"), Lifetimes: repository.CatalogueLifetimes(),
	}, repository.Genesis{Root: repository.One(pubs[0]), Targets: repository.One(pubs[1]), Snapshot: repository.One(pubs[2]), Timestamp: repository.One(pubs[3])},
		time.Now(), v.signers, nil)
	if err != nil {
		t.Fatal(err)
	}
	view, err := v.repo.View()
	if err != nil {
		t.Fatal(err)
	}
	key := payloadKey(t)
	v.keyID = key.ID
	v.trust = &metadata.Trust{
		Format: metadata.TrustFormat, Publisher: name, Root: view.Roots()[0], Keys: []metadata.PayloadKey{key},
		Catalogues: []string{(&url.URL{Scheme: "file", Path: v.dir}).String()},
	}
	return v
}

func payloadKey(t *testing.T) metadata.PayloadKey {
	t.Helper()
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b := append([]byte("Ed"), pub[:8]...)
	b = append(b, pub...)
	return metadata.PayloadKey{
		Scheme: metadata.SchemeMinisign, ID: fmt.Sprintf("%016X", binary.LittleEndian.Uint64(pub[:8])), Key: base64.StdEncoding.EncodeToString(b),
	}
}

// put writes a file of the vendor's folder.
func (v *vendor) put(t *testing.T, name string, b []byte) {
	t.Helper()
	path := filepath.Join(v.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func (v *vendor) get(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(v.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// release signs an update and puts its content where it belongs. edit may change the record and the target.
func (v *vendor) release(t *testing.T, id, version string, n int64, payload []byte, edit func(*metadata.Update, *repository.Target)) piecehash.Root {
	t.Helper()
	m, sum, err := piecehash.SumFile(t.Context(), readerAt(payload), int64(len(payload)), 16<<10, nil)
	if err != nil {
		t.Fatal(err)
	}
	u := &metadata.Update{
		Publisher: v.name, ID: id, Kind: metadata.KindApp, Version: version, Release: n, Released: time.Now().UTC().Truncate(time.Second),
		Root: m.Root(), PieceLength: m.PieceLength(), Handler: metadata.HandlerFile, Destination: "/opt/" + id,
		Signature: metadata.PayloadSignature{Scheme: metadata.SchemeMinisign, KeyID: v.keyID, Inline: "untrusted comment: x\n"},
	}
	target := repository.Target{Length: int64(len(payload)), SHA256: sum}
	if edit != nil {
		edit(u, &target)
	}
	if target.Custom, err = u.Custom(); err != nil {
		t.Fatal(err)
	}
	v.put(t, "content/"+m.Root().String(), payload)
	if l := m.Layer(); l != nil {
		v.put(t, "layer/"+m.Root().String(), l)
	}
	_, err = v.repo.Update(t.Context(), time.Now(), v.signers, func(e *repository.Edit) error {
		return e.SetTarget(repository.RoleTargets, metadata.CataloguePath(id, version), target)
	})
	if err != nil {
		t.Fatal(err)
	}
	return m.Root()
}

type bytesAt []byte

func readerAt(b []byte) bytesAt { return b }

func (b bytesAt) ReadAt(p []byte, off int64) (int, error) {
	n := copy(p, b[min(off, int64(len(b))):])
	if n < len(p) {
		return n, fmt.Errorf("end of %d bytes", len(b))
	}
	return n, nil
}

// serve lets the vendor be reached over pinned TLS (metadata, layers) and plain HTTP (content) instead of by its folder.
func (v *vendor) serve(t *testing.T) {
	t.Helper()
	authority, err := ca.New(v.name, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := authority.Issue([]string{"127.0.0.1"}, ca.MinLeaf, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(leaf.Chain, leaf.Key)
	if err != nil {
		t.Fatal(err)
	}
	folder := http.FileServer(http.Dir(v.dir))
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hook := v.hook.Load(); hook != nil {
			(*hook)(w, r)
			return
		}
		folder.ServeHTTP(w, r)
	})
	secure := httptest.NewUnstartedServer(h)
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}
	secure.StartTLS()
	plain := httptest.NewServer(h)
	t.Cleanup(secure.Close)
	t.Cleanup(plain.Close)
	v.trust.Catalogues, v.trust.CA, v.trust.Pins = []string{secure.URL}, string(authority.CertPEM()), []metadata.Pin{metadata.Pin(authority.Pin())}
	v.trust.Origins = []string{plain.URL}
}

// during answers with h while do runs; h may hand on to the folder.
func (v *vendor) during(h func(w http.ResponseWriter, r *http.Request, folder http.Handler), do func()) {
	folder := http.FileServer(http.Dir(v.dir))
	hook := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h(w, r, folder) })
	v.hook.Store(&hook)
	defer v.hook.Store(nil)
	do()
}

var testPassphrase = []byte("a few words")

func unlock() ([]byte, error) { return testPassphrase, nil }

// testConfig is for a new depot in a folder of its own.
func testConfig(t *testing.T, vendors ...*vendor) InitConfig {
	t.Helper()
	c := InitConfig{
		Config: Config{Dir: filepath.Join(t.TempDir(), "depot"), WorkFactor: keys.MinWorkFactor},
		Hosts:  []string{"127.0.0.1"}, Passphrase: testPassphrase,
	}
	for _, v := range vendors {
		c.Publishers = append(c.Publishers, Grant{Trust: v.trust})
	}
	return c
}

func newDepot(t *testing.T, vendors ...*vendor) *Depot {
	t.Helper()
	c := testConfig(t, vendors...)
	if _, err := Init(t.Context(), c, time.Now()); err != nil {
		t.Fatal(err)
	}
	d, err := Open(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func quiet(Progress) {}

func approve(ctx context.Context, d *Depot, update string, rings ...string) (*ApproveResult, error) {
	return d.Approve(ctx, ApproveRequest{Update: update, Rings: rings}, time.Now(), quiet)
}

// deviceView is what a device of a ring comes to believe, by our own client over the public folder.
func deviceView(t *testing.T, d *Depot, ring string) *metadata.View {
	t.Helper()
	view, err := d.repo.View()
	if err != nil {
		t.Fatal(err)
	}
	c, err := metadata.NewClient(metadata.ClientConfig{
		Dir: filepath.Join(t.TempDir(), "device"), Anchor: view.Roots()[0], Ring: ring,
		Depots: []string{(&url.URL{Scheme: "file", Path: d.at.public()}).String()},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := c.Sync(t.Context(), time.Now())
	if err != nil {
		t.Fatalf("a device syncs: %v", err)
	}
	return got
}

// offered lists what a device of a ring may install, as ids with versions.
func offered(t *testing.T, d *Depot, ring string) []string {
	t.Helper()
	out := []string{}
	for _, o := range deviceView(t, d, ring).Offers(ring) {
		out = append(out, o.Update().ID+"@"+o.Update().Version)
	}
	slices.Sort(out)
	return out
}

// publicState is every public file with the hash of its bytes.
func publicState(t *testing.T, d *Depot) map[string][32]byte {
	t.Helper()
	out := map[string][32]byte{}
	err := filepath.WalkDir(d.at.public(), func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		out[path] = sha256.Sum256(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}
