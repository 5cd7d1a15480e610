package depot

import (
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/repository"
	"github.com/dunlin-project/dunlin/metadata/repository/ca"
	"github.com/dunlin-project/dunlin/metadata/repository/keys"
	"github.com/dunlin-project/dunlin/piecehash"
)

// Defaults of a new depot.
const (
	DefaultListen        = ":8443"
	DefaultContentListen = ":8080"
)

// DefaultRings are the rings of a depot that names none: a few devices first, then all.
func DefaultRings() []string { return []string{"pilot", "broad"} }

// InitConfig says what a new depot is like.
type InitConfig struct {
	Config
	Hosts         []string // names or addresses that devices reach it by; required; the first one stands in URLs
	Listen        string   // of the TLS listener; empty: DefaultListen
	ContentListen string   // of the plain listener; empty: DefaultContentListen
	Rings         []string // empty: DefaultRings
	Origins       []string // base URLs where devices look for content before they ask the depot: a CDN, a web server near by
	Caches        []string // base URLs of LAN caching nodes, which devices ask by HTTP before the origins
	Group         string   // that devices exchange in; empty: one of its own, named after the depot's authority
	Publishers    []Grant  // whom it trusts from the start
	Passphrase    []byte   // of the offline keys
}

// Grant is a publisher together with what the organisation lets it do.
type Grant struct {
	Trust        *metadata.Trust
	Handlers     []string // empty: as before; for one who is new: every handler that there is
	Destinations []string // path prefixes; empty: as before; for one who is new: "/", anywhere
	Replace      bool     // another catalogue may take the place of the one that is trusted by this name
}

func (g Grant) record() *metadata.Publisher {
	handlers, destinations := g.Handlers, g.Destinations
	if len(handlers) == 0 {
		handlers = []string{metadata.HandlerFile, metadata.HandlerTree, metadata.HandlerExec}
	}
	if len(destinations) == 0 {
		destinations = []string{"/"}
	}
	return g.Trust.Record(handlers, destinations)
}

// InitResult says what init made. Nothing in it is secret.
type InitResult struct {
	Dir        string            `json:"dir"`
	URL        string            `json:"url"`
	ContentURL string            `json:"content_url"`
	Rings      []string          `json:"rings"`
	Group      string            `json:"group"`
	CAPin      metadata.Pin      `json:"ca_pin"`         // SHA-256 of the authority's public key
	Root       piecehash.Hash    `json:"approvals_root"` // SHA-256 of the approvals' root file
	Keys       []KeyPlace        `json:"keys"`
	Publishers []PublisherStatus `json:"publishers"`
}

// KeyPlace says where a key lies and what for.
type KeyPlace struct {
	Name      string `json:"name"`
	Path      string `json:"path"`
	Encrypted bool   `json:"encrypted"`
	Use       string `json:"use"`
	Move      bool   `json:"move_away"` // better not left on this machine
}

// Init makes a depot. The folder must be empty or missing; when something fails, what was made is taken away again.
func Init(ctx context.Context, c InitConfig, now time.Time) (*InitResult, error) {
	b, err := newBuilder(c)
	if err != nil {
		return nil, err
	}
	if err := b.claimFolder(); err != nil {
		return nil, err
	}
	result, err := b.build(ctx, now)
	if err != nil {
		return nil, errors.Join(err, b.at.clear())
	}
	return result, nil
}

// builder makes one depot; its fields are filled in the order of build.
type builder struct {
	c     InitConfig
	at    folder
	set   *settings
	keys  *keys.Store
	ca    *ca.Authority
	fleet *metadata.Fleet
}

// newBuilder checks everything that can be checked before anything is made.
func newBuilder(c InitConfig) (*builder, error) {
	c.Config = c.Config.withDefaults()
	set := &settings{Format: settingsFormat, Hosts: c.Hosts, Listen: c.Listen, ContentListen: c.ContentListen, Rings: c.Rings}
	if set.Listen == "" {
		set.Listen = DefaultListen
	}
	if set.ContentListen == "" {
		set.ContentListen = DefaultContentListen
	}
	if len(set.Rings) == 0 {
		set.Rings = DefaultRings()
	}
	if err := set.check(); err != nil {
		return nil, err
	}
	if err := keys.CheckPassphrase(c.Passphrase); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, g := range c.Publishers {
		if seen[g.Trust.Publisher] {
			return nil, fault.New(fault.Usage, "make depot: publisher %s is given twice", g.Trust.Publisher)
		}
		seen[g.Trust.Publisher] = true
		if _, err := g.record().Custom(); err != nil {
			return nil, err
		}
	}
	at, err := absolute(c.Dir)
	if err != nil {
		return nil, err
	}
	store, err := keys.Open(at.keys(), keys.Options{Offline: c.OfflineKeys, WorkFactor: c.WorkFactor})
	return &builder{c: c, at: at, set: set, keys: store}, err
}

// lostAndFound is what a file system has at its top; a depot may have a volume of its own.
const lostAndFound = "lost+found"

// claimFolder makes the folder, or takes one that is empty.
func (b *builder) claimFolder() error {
	if err := durable.MkdirPrivate(string(b.at)); err != nil {
		return err
	}
	entries, err := os.ReadDir(string(b.at))
	if err != nil {
		return fmt.Errorf("make depot: %w", err)
	}
	for _, e := range entries {
		if e.Name() == lostAndFound {
			continue
		}
		if _, err := os.Lstat(b.at.settings()); err == nil {
			return fault.WithHint(fault.New(fault.Usage, "make depot: there is one in %s already", string(b.at)), "add publishers to it with `dunlin depot publisher add`, or choose another --dir")
		}
		return fault.WithHint(fault.New(fault.Usage, "make depot: %s is not empty", string(b.at)), "if a former `depot init` was interrupted, delete what lies in it; otherwise choose another --dir")
	}
	return nil
}

// clear takes everything away that build made.
func (f folder) clear() error {
	entries, err := os.ReadDir(string(f))
	for _, e := range entries {
		if e.Name() != lostAndFound {
			err = errors.Join(err, os.RemoveAll(f.path(e.Name())))
		}
	}
	return err
}

// build ends with the settings: a folder without them is no depot.
func (b *builder) build(ctx context.Context, now time.Time) (*InitResult, error) {
	if err := b.at.makeDirs(); err != nil {
		return nil, err
	}
	if err := b.makeAuthority(now); err != nil {
		return nil, err
	}
	if err := b.makeApprovals(ctx, now); err != nil {
		return nil, err
	}
	if err := b.set.write(b.at); err != nil {
		return nil, err
	}
	d, err := Open(b.c.Config)
	if err != nil {
		return nil, err
	}
	if err := d.mend(); err != nil {
		return nil, err
	}
	return b.result(d)
}

func (b *builder) makeAuthority(now time.Time) error {
	authority, err := ca.New(clipName(b.set.Hosts[0]+" depot"), now)
	if err != nil {
		return err
	}
	key, err := authority.KeyPEM()
	if err != nil {
		return err
	}
	if err := b.keys.PutOnline(keyAuthority, key); err != nil {
		return err
	}
	if err := durable.WriteFile(b.at.authority(), authority.CertPEM(), 0o600); err != nil {
		return err
	}
	b.ca = authority
	_, err = issueServer(b.at, authority, b.set.Hosts, now)
	return err
}

// clipName shortens a name to what X.509 allows for a common name.
func clipName(s string) string { return s[:min(len(s), 64)] }

func (b *builder) makeApprovals(ctx context.Context, now time.Time) error {
	signers, genesis, err := b.makeKeys()
	if err != nil {
		return err
	}
	b.fleet = b.newFleet()
	if err := publishTarget(b.at, metadata.FleetTarget, nil); err != nil {
		return err
	}
	for _, g := range b.c.Publishers {
		if err := keepRoot(b.at, g.Trust); err != nil {
			return err
		}
	}
	by := []crypto.Signer{}
	for _, s := range signers {
		by = append(by, s)
	}
	_, err = repository.Create(ctx, repositoryConfig(b.at, b.c.Log), genesis, now, by, func(e *repository.Edit) error {
		return b.fill(e, signers)
	})
	return err
}

// makeKeys makes every key of the approvals: two that may leave, and those that sign unattended.
func (b *builder) makeKeys() (map[string]crypto.Signer, repository.Genesis, error) {
	made := map[string]crypto.Signer{}
	for _, name := range []string{keyRoot, keyTargets} {
		s, err := b.keys.NewOffline(name, b.c.Passphrase)
		if err != nil {
			return nil, repository.Genesis{}, err
		}
		made[name] = s
	}
	online := []string{keySnapshot, keyTimestamp}
	for _, r := range b.set.Rings {
		online = append(online, metadata.RingRole(r))
	}
	for _, name := range online {
		s, err := b.keys.NewOnline(name)
		if err != nil {
			return nil, repository.Genesis{}, err
		}
		made[name] = s
	}
	return made, repository.Genesis{
		Root: repository.One(made[keyRoot].Public()), Targets: repository.One(made[keyTargets].Public()),
		Snapshot: repository.One(made[keySnapshot].Public()), Timestamp: repository.One(made[keyTimestamp].Public()),
	}, nil
}

func (b *builder) newFleet() *metadata.Fleet {
	pin := metadata.Pin(b.ca.Pin())
	group := b.c.Group
	if group == "" {
		group = "depot-" + pin.String()[:16]
	}
	return &metadata.Fleet{
		Origins: append(slices.Clone(b.c.Origins), b.set.contentURL()), Depots: []string{b.set.secureURL()},
		Caches: b.c.Caches, CA: string(b.ca.CertPEM()), Pins: []metadata.Pin{pin}, Group: group,
	}
}

func (b *builder) fill(e *repository.Edit, signers map[string]crypto.Signer) error {
	custom, err := b.fleet.Custom()
	if err != nil {
		return err
	}
	empty := repository.Target{SHA256: piecehash.Hash(sha256.Sum256(nil)), Custom: custom}
	if err := e.SetTarget(repository.RoleTargets, metadata.FleetTarget, empty); err != nil {
		return err
	}
	for _, g := range b.c.Publishers {
		if err := setPublisher(e, g); err != nil {
			return err
		}
	}
	for _, r := range b.set.Rings {
		role := metadata.RingRole(r)
		d := repository.Delegation{Name: role, Keys: repository.One(signers[role].Public()), Paths: []string{metadata.RingPaths(r)}}
		if err := e.Delegate(d); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) result(d *Depot) (*InitResult, error) {
	status, err := d.Publishers()
	if err != nil {
		return nil, err
	}
	root, _, err := d.anchor()
	if err != nil {
		return nil, err
	}
	return &InitResult{
		Dir: string(b.at), URL: b.set.secureURL(), ContentURL: b.set.contentURL(), Rings: b.set.Rings, Group: b.fleet.Group,
		CAPin: metadata.Pin(b.ca.Pin()), Root: root, Keys: b.places(), Publishers: status,
	}, nil
}

// places lists every secret that lies in the folder. The authority's key stays: the server renews its certificate every
// few days, and the authority vouches for nothing but the name of this depot; what devices install hangs on the
// approvals' root, whose hash stands in the join token.
func (b *builder) places() []KeyPlace {
	out := []KeyPlace{
		{Name: keyRoot, Path: b.keys.OfflinePath(keyRoot), Encrypted: true, Move: true, Use: "signs who signs; once a year, and to replace a lost key"},
		{Name: keyTargets, Path: b.keys.OfflinePath(keyTargets), Encrypted: true, Move: true, Use: "signs which publishers are trusted and what holds for every device"},
	}
	for _, r := range b.set.Rings {
		role := metadata.RingRole(r)
		out = append(out, KeyPlace{Name: role, Path: b.keys.OnlinePath(role), Use: "signs what is approved for ring " + r})
	}
	return append(out,
		KeyPlace{Name: keySnapshot, Path: b.keys.OnlinePath(keySnapshot), Use: "signs which versions belong together"},
		KeyPlace{Name: keyTimestamp, Path: b.keys.OnlinePath(keyTimestamp), Use: "signs that this is the newest"},
		KeyPlace{Name: keyAuthority, Path: b.keys.OnlinePath(keyAuthority), Use: "issues the TLS certificate of this depot, nothing else"},
		KeyPlace{Name: "tls", Path: b.at.serverKey(), Use: "the TLS certificate's own key, replaced with it"},
	)
}
