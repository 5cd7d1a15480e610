package metadatatest

import (
	"crypto/sha256"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/tuf/tuftest"
	"github.com/dunlin-project/dunlin/piecehash"
)

// Org is an organisation: its approvals, and the publishers it trusts. Its methods publish at once.
type Org struct {
	Approvals  *tuftest.Repo
	Publishers map[string]*Publisher
	Fleet      metadata.Fleet

	t testing.TB
}

// NewOrg returns an organisation with a fleet record, the given rings, and no publisher.
func NewOrg(t testing.TB, now time.Time, rings ...string) *Org {
	t.Helper()
	o := &Org{
		Approvals: tuftest.New(t.Name()+"/approvals", now), Publishers: map[string]*Publisher{}, t: t,
		Fleet: metadata.Fleet{Origins: []string{"http://depot.example:8080"}, Group: "lan"},
	}
	roles := []string{"targets"}
	for _, ring := range rings {
		role := metadata.RingRole(ring)
		o.Approvals.Delegate("targets", role, metadata.RingPaths(ring))
		roles = append(roles, role)
	}
	o.setFleet()
	o.Approvals.Publish(roles...)
	return o
}

func (o *Org) setFleet() {
	custom, err := o.Fleet.Custom()
	o.must(err)
	o.Approvals.AddTarget("targets", metadata.FleetTarget, 0, sha256.Sum256(nil), custom)
}

// SetFleet replaces the fleet record.
func (o *Org) SetFleet(f metadata.Fleet) {
	o.Fleet = f
	o.setFleet()
	o.Approvals.Publish("targets")
}

// Trust makes a publisher with an empty catalogue and trusts it: handlers file, tree and exec, every destination.
func (o *Org) Trust(name string) *Publisher {
	o.t.Helper()
	p := newPublisher(o, name)
	o.Publishers[name] = p
	o.SetRecord(p)
	return p
}

// SetRecord publishes the trust record of a publisher as it is now.
func (o *Org) SetRecord(p *Publisher) {
	o.t.Helper()
	custom, err := p.Record.Custom()
	o.must(err)
	o.Approvals.AddFile("targets", metadata.PublisherPath(p.Name), p.Root, custom)
	o.Approvals.Publish("targets")
}

// Approve approves an update for a ring: install, for everybody, with peering. change may be nil.
func (o *Org) Approve(ring string, p *Publisher, u *metadata.Update, change func(*metadata.Approval)) {
	o.t.Helper()
	path := metadata.CataloguePath(u.ID, u.Version)
	f := p.Catalogue.Roles["targets"].Signed.Targets[path]
	_, digest, err := metadata.ParseUpdate(*f.Custom)
	o.must(err)
	a := &metadata.Approval{Catalogue: path, Record: digest, Action: metadata.ActionInstall, ShareBP: metadata.FullShare, Peering: true}
	if change != nil {
		change(a)
	}
	custom, err := a.Custom()
	o.must(err)
	role := metadata.RingRole(ring)
	o.Approvals.AddTarget(role, metadata.ApprovalPath(ring, p.Name, u.ID, u.Version), f.Length, [32]byte(f.Hashes["sha256"]), custom)
	o.Approvals.Publish(role)
}

// Unapprove withdraws an approval.
func (o *Org) Unapprove(ring, publisher, id, version string) {
	delete(o.Approvals.Roles[metadata.RingRole(ring)].Signed.Targets, metadata.ApprovalPath(ring, publisher, id, version))
	o.Approvals.Publish(metadata.RingRole(ring))
}

// Anchor returns the first root file of the approvals.
func (o *Org) Anchor() []byte { return o.Approvals.Files["metadata/1.root.json"] }

// Bundle returns everything that is published.
func (o *Org) Bundle() metadata.Bundle {
	b := metadata.Bundle{Approvals: o.Approvals.Snap(), Catalogues: map[string]metadata.Files{}}
	for name, p := range o.Publishers {
		b.Catalogues[name] = p.Catalogue.Snap()
	}
	return b
}

// View opens what is published. An error of a single catalogue is no failure: see metadata.View.Err.
func (o *Org) View(now time.Time) *metadata.View {
	o.t.Helper()
	v, err := metadata.Open(o.Anchor(), o.Bundle(), now)
	o.must(err)
	return v
}

// Served returns everything that a depot would serve, by the path of its URL.
func (o *Org) Served() map[string][]byte {
	out := map[string][]byte{}
	for name, b := range o.Approvals.Files {
		out[metadata.ApprovalsPath+"/"+name] = b
	}
	for publisher, p := range o.Publishers {
		for name, b := range p.Catalogue.Files {
			out[metadata.CataloguesPath+publisher+"/"+name] = b
		}
		for root, layer := range p.layers {
			out["/v1/layer/"+root.String()] = layer
		}
	}
	return out
}

// ServeHTTP serves what is published at the time of the request. It must not run beside the other methods.
func (o *Org) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, ok := o.Served()[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	_, _ = w.Write(b)
}

// Write writes what is published into a folder, which then is a depot for a file URL.
func (o *Org) Write(dir string) {
	o.t.Helper()
	for name, b := range o.Served() {
		path := filepath.Join(dir, filepath.FromSlash(strings.TrimPrefix(name, "/")))
		o.must(os.MkdirAll(filepath.Dir(path), 0o755))
		o.must(os.WriteFile(path, b, 0o644))
	}
}

func (o *Org) must(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatalf("metadatatest: %v", err)
	}
}

// Token returns a join token for the organisation as it is published.
func (o *Org) Token(ca metadata.Pin, depot, content, ring string) *metadata.Token {
	return &metadata.Token{
		Version: metadata.TokenVersion, Depots: []string{depot}, Content: []string{content}, CA: ca,
		Root: piecehash.Hash(sha256.Sum256(o.Anchor())), RootVersion: 1, Ring: ring,
	}
}
