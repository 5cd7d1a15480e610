package publish

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/piecehash"
)

// AddRequest describes one update.
type AddRequest struct {
	// File is the payload.
	File string
	// Update says everything that Add does not find out itself. Left alone by the caller: Publisher, Released, Root,
	// Requires and Signature. Zero means: Release, one more than the highest of this id; PieceLength, the default for the
	// length; Uncompressed, what the archive unpacks to (handler tree; a given value is the most it may).
	Update metadata.Update
	// Requires are updates of this catalogue, as ID@VERSION, published or staged.
	Requires []string
	// Progress may be nil.
	Progress Progress
}

// Added says what Add staged.
type Added struct {
	Path         string         `json:"path"` // in the catalogue
	Publisher    string         `json:"publisher"`
	ID           string         `json:"id"`
	Version      string         `json:"version"`
	Release      int64          `json:"release"`
	Length       int64          `json:"length"`
	SHA256       piecehash.Hash `json:"sha256"`
	Root         piecehash.Root `json:"root"`
	PieceLength  int64          `json:"piece_length"`
	Uncompressed int64          `json:"uncompressed,omitempty"`
	KeyID        string         `json:"key_id"` // of the payload's signature
	Content      string         `json:"content"`
}

// Add takes a payload in and stages its update for the next release. It needs the passphrase for the payload key, not
// for the key of the catalogue. Adding an id and version again replaces what is staged; what is published stands for
// ever (fault.Refused), because devices may have installed it.
func (p *Publisher) Add(ctx context.Context, q AddRequest, now time.Time) (*Added, error) {
	if q.Progress == nil {
		q.Progress = func(Phase, int64, int64) {}
	}
	var out *Added
	err := p.locked(ctx, func(s *settings) error {
		var err error
		out, err = p.add(ctx, s, q, now)
		return err
	})
	return out, err
}

func (p *Publisher) add(ctx context.Context, s *settings, q AddRequest, now time.Time) (*Added, error) {
	b, err := p.book()
	if err != nil {
		return nil, err
	}
	u, err := draft(s, b, q, now)
	if err != nil {
		return nil, err
	}
	signer, err := p.payloadSigner(s)
	if err != nil {
		return nil, err
	}
	if err := p.clean(); err != nil {
		return nil, err
	}
	in, err := p.take(ctx, q.File, u.PieceLength, q.Progress)
	if err != nil {
		return nil, err
	}
	target, err := complete(ctx, u, in, signer, q)
	if err != nil {
		return nil, errors.Join(err, in.discard())
	}
	if err := p.place(in, u.Signature.Inline); err != nil {
		return nil, err
	}
	path := metadata.CataloguePath(u.ID, u.Version)
	b.staged.Targets[path] = *target
	if err := p.writeStaged(b.staged); err != nil {
		return nil, diskFault(err)
	}
	return &Added{
		Path: path, Publisher: u.Publisher, ID: u.ID, Version: u.Version, Release: u.Release,
		Length: in.length, SHA256: in.sha256, Root: u.Root, PieceLength: u.PieceLength, Uncompressed: u.Uncompressed,
		KeyID: u.Signature.KeyID, Content: p.content(u.Root),
	}, nil
}

// draft fills in and checks everything that can be known before a byte of the payload is read, so that a typing error
// does not cost an hour of hashing.
func draft(s *settings, b *book, q AddRequest, now time.Time) (*metadata.Update, error) {
	u := q.Update
	u.Publisher, u.Released = s.Publisher, now.UTC().Truncate(time.Second)
	path := metadata.CataloguePath(u.ID, u.Version)
	if b.published[path] != nil {
		return nil, fault.WithHint(fault.New(fault.Refused, "add %s: it is published already", path), "a new payload needs a new version")
	}
	var err error
	if u.Release, err = b.releaseFor(s, &u); err != nil {
		return nil, err
	}
	if u.Requires, err = b.requirements(q.Requires); err != nil {
		return nil, err
	}
	if err := metadata.CheckApplicability(u.Applicability); err != nil {
		return nil, err
	}
	return &u, rehearse(u)
}

// rehearse encodes the record with stand-ins for what only the payload can tell.
func rehearse(u metadata.Update) error {
	u.Root = piecehash.Root{1}
	if u.PieceLength == 0 {
		u.PieceLength = piecehash.DefaultPieceLength(1)
	}
	if u.Handler == metadata.HandlerTree && u.Uncompressed == 0 {
		u.Uncompressed = 1
	}
	u.Signature = metadata.PayloadSignature{Scheme: metadata.SchemeMinisign, KeyID: "0000000000000000", Inline: "-"}
	if _, err := u.Custom(); err != nil {
		return fmt.Errorf("add %s: %w", metadata.CataloguePath(u.ID, u.Version), err)
	}
	return nil
}

// releaseFor counts on from the highest release the id ever had, or checks the one that was given. Two updates with one
// number would leave it open which of them is newer; a device that has a withdrawn one would not take the other.
func (b *book) releaseFor(s *settings, u *metadata.Update) (int64, error) {
	used := map[int64]string{}
	for _, n := range s.Retired[u.ID] {
		used[n] = "a withdrawn update"
	}
	for _, shelf := range []map[string]*metadata.Target{b.published, b.added} { // also what is about to be withdrawn
		for path, t := range shelf {
			if t.Update.ID == u.ID && path != metadata.CataloguePath(u.ID, u.Version) {
				used[t.Update.Release] = path
			}
		}
	}
	if by, taken := used[u.Release]; taken {
		return 0, fault.WithHint(fault.New(fault.Refused, "add %s: %s has release counter %d already", u.ID, by, u.Release),
			"leave --release-counter away to count on")
	}
	if u.Release != 0 {
		return u.Release, nil
	}
	var highest int64
	for n := range used {
		highest = max(highest, n)
	}
	return highest + 1, nil
}

// requirements finds the payload hashes of ID@VERSION, so that nobody can put another file in their place.
func (b *book) requirements(list []string) ([]metadata.Requirement, error) {
	var out []metadata.Requirement
	known := b.targets()
	for _, s := range list {
		id, version, ok := strings.Cut(s, "@")
		if !ok {
			return nil, fault.New(fault.Usage, "read requirement %.80q: want ID@VERSION", s)
		}
		t := known[metadata.CataloguePath(id, version)]
		if t == nil {
			return nil, fault.WithHint(fault.New(fault.Refused, "read requirement %.80q: the catalogue has no such update", s), "add that one first")
		}
		out = append(out, metadata.Requirement{ID: id, Version: version, SHA256: t.SHA256})
	}
	return out, nil
}

// complete adds what the payload tells and signs it.
func complete(ctx context.Context, u *metadata.Update, in *intake, signer *payloadSigner, q AddRequest) (*stagedTarget, error) {
	if err := inspect(ctx, u, in, q.Progress); err != nil {
		return nil, fmt.Errorf("look into payload %s: %w", q.File, err)
	}
	u.Root, u.PieceLength = in.manifest.Root(), in.manifest.PieceLength()
	u.Signature = signer.sign(in.read, TrustedComment(u.Publisher, u.ID, u.Version, filepath.Base(q.File)))
	custom, err := u.Custom()
	if err != nil {
		return nil, err
	}
	return &stagedTarget{in.length, in.sha256, custom}, nil
}

// inspect checks that the payload is something its handler can work with.
func inspect(ctx context.Context, u *metadata.Update, in *intake, tell Progress) error {
	switch u.Handler {
	case metadata.HandlerTree:
		size, err := measure(ctx, in.file, in.length, u.Uncompressed, func(done int64) { tell(PhaseUnpack, done, in.length) })
		if err == nil && u.Uncompressed == 0 {
			u.Uncompressed = size
		}
		return err
	case metadata.HandlerExec:
		return checkProgram(in.file)
	default:
		return nil
	}
}
