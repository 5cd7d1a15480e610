package metadatatest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/crypto/blake2b"

	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/tuf/tuftest"
	"github.com/dunlin-project/dunlin/piecehash"
)

// Publisher is one publisher with its catalogue.
type Publisher struct {
	Name      string
	Catalogue *tuftest.Repo
	Root      []byte              // the root that the organisation is given
	Record    *metadata.Publisher // what the organisation trusts it for; see Org.SetRecord

	org    *Org
	key    ed25519.PrivateKey
	layers map[piecehash.Root][]byte
}

func newPublisher(o *Org, name string) *Publisher {
	repo := tuftest.New(o.t.Name()+"/"+name, o.Approvals.Now)
	p := &Publisher{Name: name, Catalogue: repo, Root: repo.Files["metadata/1.root.json"], org: o, key: repo.Key(), layers: map[piecehash.Root][]byte{}}
	p.Record = &metadata.Publisher{
		Name: name, Keys: []metadata.PayloadKey{p.PayloadKey()}, Destinations: []string{"/"},
		Handlers: []string{metadata.HandlerFile, metadata.HandlerTree, metadata.HandlerExec},
	}
	return p
}

// PayloadKey returns the key that the publisher signs payloads with.
func (p *Publisher) PayloadKey() metadata.PayloadKey {
	id := p.keyID()
	raw := append(append([]byte("Ed"), id...), p.key.Public().(ed25519.PublicKey)...)
	return metadata.PayloadKey{
		Scheme: metadata.SchemeMinisign, ID: fmt.Sprintf("%016X", binary.LittleEndian.Uint64(id)),
		Key: base64.StdEncoding.EncodeToString(raw),
	}
}

func (p *Publisher) keyID() []byte {
	sum := sha256.Sum256(p.key.Public().(ed25519.PublicKey))
	return sum[:8]
}

// SignPayload returns the text of a minisign signature file over a payload, with a comment of no meaning.
func (p *Publisher) SignPayload(payload []byte) string {
	return p.SignPayloadAs(payload, "file of a test")
}

// SignPayloadAs is SignPayload with a trusted comment.
func (p *Publisher) SignPayloadAs(payload []byte, comment string) string {
	digest := blake2b.Sum512(payload)
	sig := ed25519.Sign(p.key, digest[:])
	global := ed25519.Sign(p.key, append(bytes.Clone(sig), comment...))
	raw := append(append([]byte("ED"), p.keyID()...), sig...)
	return fmt.Sprintf("untrusted comment: a test\n%s\ntrusted comment: %s\n%s\n",
		base64.StdEncoding.EncodeToString(raw), comment, base64.StdEncoding.EncodeToString(global))
}

// Update returns a sound record for a payload: handler file, destination /opt/<id>, the payload's signature inline.
func (p *Publisher) Update(id, version string, release int64, payload []byte) *metadata.Update {
	p.org.t.Helper()
	const pieceLength = piecehash.MinPieceLength
	m, _, err := piecehash.SumFile(context.Background(), bytes.NewReader(payload), int64(len(payload)), pieceLength, nil)
	p.org.must(err)
	p.layers[m.Root()] = m.Layer()
	return &metadata.Update{
		Publisher: p.Name, ID: id, Kind: metadata.KindApp, Version: version, Release: release, Released: p.Catalogue.Now.Truncate(time.Second),
		Root: m.Root(), PieceLength: pieceLength, Handler: metadata.HandlerFile, Destination: "/opt/" + id,
		Signature: metadata.PayloadSignature{Scheme: metadata.SchemeMinisign, KeyID: p.PayloadKey().ID, Inline: p.SignPayload(payload)},
	}
}

// Add publishes a record in the catalogue.
func (p *Publisher) Add(u *metadata.Update, payload []byte) {
	p.org.t.Helper()
	custom, err := u.Custom()
	p.org.must(err)
	p.Catalogue.AddTarget("targets", metadata.CataloguePath(u.ID, u.Version), int64(len(payload)), sha256.Sum256(payload), custom)
	p.Catalogue.Publish("targets")
}

// Release is Update and Add in one.
func (p *Publisher) Release(id, version string, release int64, payload []byte) *metadata.Update {
	p.org.t.Helper()
	u := p.Update(id, version, release, payload)
	p.Add(u, payload)
	return u
}

// Withdraw takes an update out of the catalogue.
func (p *Publisher) Withdraw(id, version string) {
	delete(p.Catalogue.Roles["targets"].Signed.Targets, metadata.CataloguePath(id, version))
	p.Catalogue.Publish("targets")
}

// Trust returns what the publisher hands to a depot. base is the URL of the catalogue, ca and pins are for https.
func (p *Publisher) Trust(base, ca string, pins ...metadata.Pin) *metadata.Trust {
	return &metadata.Trust{
		Format: metadata.TrustFormat, Publisher: p.Name, Root: p.Root, Keys: p.Record.Keys,
		Catalogues: []string{base}, CA: ca, Pins: pins,
	}
}
