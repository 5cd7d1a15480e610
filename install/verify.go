package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/dunlin-project/dunlin/install/signature"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/piecehash"
)

// ErrNotApproved is the error, of kind fault.Refused, of an update that publisher and organisation do not agree on for
// the ring of the installer.
var ErrNotApproved = errors.New("it is not approved for this ring, or not in the catalogue")

// Request names what is to be installed and brings what proves it. Nothing in it is believed but the time, and that only
// forwards of what the bundle proves.
type Request struct {
	// Payload is the file, open for reading. It stays the caller's, who may close it when Verify has returned.
	Payload *os.File
	// Bundle is the raw signed bytes of approvals and catalogue, as metadata.Client.Sync returned them.
	Bundle metadata.Bundle
	// Update and Version name the offer.
	Update  metadata.Key
	Version string
	// Signature is the publisher's signature file, fetched from the URL in the record. It is not used, and may be nil,
	// when the record carries the signature itself.
	Signature []byte
	// Now is the time of the cycle. An installer keeps no clock of its own: the later of Now and the latest time that the
	// signed bytes prove counts, so whoever calls with a time of the past can have metadata that has run out accepted, but
	// nothing below the version floor, and with one of the future an approval before its time.
	Now time.Time
}

// Verified is a payload that was checked, with everything that says it may be installed. Only Verify makes one. It holds
// the payload open and out of everybody's reach until Close.
type Verified struct {
	by      *Installer
	view    *metadata.View
	offer   metadata.Offer
	bundle  metadata.Bundle
	payload payload
	signer  signature.Identity
}

// Verify checks a payload and what is said about it, reading the file once. It does what the agent has done, again and
// from the beginning, because it may run in another process, with more rights:
//
//   - both repositories verify against the anchor and agree on the update for the ring, and the organisation allows the
//     publisher this handler, this destination and this key (metadata.Open);
//   - the approval's time has come, and the handler exists here;
//   - the release is not below the version floor, unless publisher and organisation both allow that;
//   - length and SHA-256 are the signed ones, the publisher's signature over the payload holds, and its comment, if it is
//     in the form of `dunlin publish`, names this update.
//
// The error's kind says what to do: refused is policy, untrusted means to drop the source of the payload, and unavailable
// that a later try may do. The caller closes what is returned.
func (i *Installer) Verify(ctx context.Context, r Request) (*Verified, error) {
	v, err := i.verify(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("verify %.40q %.40q: %w", r.Update.Publisher+"/"+r.Update.ID, r.Version, err)
	}
	return v, nil
}

func (i *Installer) verify(ctx context.Context, r Request) (*Verified, error) {
	view, err := metadata.Open(i.cfg.Anchor, r.Bundle, r.Now)
	if err != nil {
		return nil, err
	}
	offer, err := i.findOffer(view, r)
	if err != nil {
		return nil, err
	}
	if err := i.allow(view, offer); err != nil {
		return nil, err
	}
	if err := i.admit(view, offer); err != nil {
		return nil, err
	}
	target := offer.Target()
	program := offer.Update().Handler == metadata.HandlerExec
	p, digests, err := i.folder.secure(ctx, r.Payload, target.Length, program)
	if err != nil {
		return nil, err
	}
	signer, err := i.checkDigests(offer, digests, r.Signature)
	if err != nil {
		p.f.Close()
		return nil, err
	}
	return &Verified{i, view, offer, r.Bundle, p, signer}, nil
}

// findOffer returns what both sides agree on, or why they do not.
func (i *Installer) findOffer(view *metadata.View, r Request) (metadata.Offer, error) {
	for _, o := range view.Offers(i.cfg.Ring) {
		if o.Key() == r.Update && o.Update().Version == r.Version {
			return o, nil
		}
	}
	for _, refusal := range view.Refusals(i.cfg.Ring) {
		if refusal.Key == r.Update && refusal.Version == r.Version {
			return metadata.Offer{}, refusal.Err
		}
	}
	return metadata.Offer{}, fault.New(fault.Refused, "ring %s: %w", i.cfg.Ring, ErrNotApproved)
}

// allow looks at what an offer leaves open: whether its time has come, and whether this device can install it.
func (i *Installer) allow(view *metadata.View, offer metadata.Offer) error {
	u, a := offer.Update(), offer.Approval()
	if a.Action != metadata.ActionInstall {
		return fault.New(fault.Refused, "the approval says %s, not install", a.Action)
	}
	if view.Now().Before(a.NotBefore) {
		return fault.WithHint(
			fault.New(fault.Refused, "it is approved from %s on", a.NotBefore.Format(time.RFC3339)),
			"wait, or approve it for an earlier time")
	}
	return i.allowHandlers(u)
}

func (i *Installer) allowHandlers(u *metadata.Update) error {
	switch {
	case i.cfg.Handlers[u.Handler] == nil:
		return fault.WithHint(
			fault.New(fault.Refused, "this device has no handler %.40q", u.Handler),
			"a newer agent may have it: update dunlin on this machine")
	case u.Health == nil:
		return nil
	case i.cfg.Root != "":
		return fault.WithHint(
			fault.New(fault.Refused, "it has a health check, which would run outside of the root folder %s", i.cfg.Root),
			"the publisher can release it without one")
	case i.cfg.Handlers[metadata.HandlerExec] == nil:
		return fault.WithHint(
			fault.New(fault.Refused, "it has a health check, and this device does not allow the handler %s, which that needs", metadata.HandlerExec),
			"the publisher can release it without one, or add %s to handlers in the agent's configuration", metadata.HandlerExec)
	}
	return nil
}

// allowedPrefix returns the widest of the prefixes that destination lies in. They count by whole elements.
func allowedPrefix(prefixes []string, destination string) (string, bool) {
	widest, found := "", false
	for _, p := range prefixes {
		inside := p == "/" || destination == p || strings.HasPrefix(destination, p+"/")
		if inside && path.IsAbs(destination) && (!found || len(p) < len(widest)) {
			widest, found = p, true
		}
	}
	return widest, found
}

// checkDigests compares what was read with what was signed.
func (i *Installer) checkDigests(offer metadata.Offer, d signature.Digests, detached []byte) (signature.Identity, error) {
	if want := offer.Target().SHA256; d.SHA256 != want {
		return signature.Identity{}, fault.WithHint(
			fault.New(fault.Untrusted, "check payload: its SHA-256 is %v, the catalogue says %v", d.SHA256, want),
			"throw the payload away and fetch it again")
	}
	s := offer.Update().Signature
	scheme := i.cfg.Schemes[s.Scheme]
	if scheme == nil {
		return signature.Identity{}, fault.New(fault.Refused, "check signature: this device cannot check scheme %.40q", s.Scheme)
	}
	key, err := payloadKey(offer, s)
	if err != nil {
		return signature.Identity{}, err
	}
	file := []byte(s.Inline)
	if s.Inline == "" {
		file = detached
	}
	if len(file) == 0 {
		return signature.Identity{}, fault.New(fault.Unavailable, "check signature: the signature file was not fetched from %s", s.URL)
	}
	signer, err := scheme.Verify(d, file, key)
	if err != nil {
		return signature.Identity{}, err
	}
	return signer, checkComment(signer.Comment, offer.Update())
}

// ours is how the comments begin that `dunlin publish` signs with a payload (publish.TrustedComment).
const ours = "dunlin "

// checkComment holds the signed comment against the record, so that the keys of the catalogue alone cannot release an old
// payload as another update. A comment that is not in our form, as of minisign itself, says nothing that could be compared.
func checkComment(comment string, u *metadata.Update) error {
	want := fmt.Sprintf(ours+"publisher=%s id=%s version=%s file=", u.Publisher, u.ID, u.Version)
	if !strings.HasPrefix(comment, ours) || strings.HasPrefix(comment, want) {
		return nil
	}
	return fault.WithHint(
		fault.New(fault.Untrusted, "check signature: the payload was signed as %.200q, and the catalogue calls it %s/%s %s", comment, u.Publisher, u.ID, u.Version),
		"do not use the payload; ask the publisher why it is released under another name than it was signed for")
}

// payloadKey returns the key that the record names, if it is one that the organisation trusts this publisher's payloads
// by. No key never means that anything is accepted.
func payloadKey(offer metadata.Offer, s metadata.PayloadSignature) (metadata.PayloadKey, error) {
	for _, k := range offer.Publisher().Keys {
		if k.Scheme == s.Scheme && k.ID == s.KeyID {
			return k, nil
		}
	}
	return metadata.PayloadKey{}, fault.WithHint(
		fault.New(fault.Untrusted, "check signature: key %.20q is none that the organisation trusts publisher %s by", s.KeyID, offer.Publisher().Name),
		"if the publisher has a new key, its new trust file must be added at the depot")
}

// Offer returns what publisher and organisation agree on.
func (v *Verified) Offer() metadata.Offer { return v.offer }

// Update returns the publisher's record.
func (v *Verified) Update() *metadata.Update { return v.offer.Update() }

// Length returns the length of the payload in bytes.
func (v *Verified) Length() int64 { return v.offer.Target().Length }

// SHA256 returns the hash that the payload was found to have.
func (v *Verified) SHA256() piecehash.Hash { return v.offer.Target().SHA256 }

// Content reads the payload from its beginning. Reading fails when ctx is done.
func (v *Verified) Content(ctx context.Context) *io.SectionReader {
	return io.NewSectionReader(content{ctx, v}, 0, v.Length())
}

type content struct {
	ctx context.Context //nolint:containedctx // a reader has no other way to be stopped
	v   *Verified
}

func (c content) ReadAt(b []byte, at int64) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	c.v.by.cfg.Probe("read")
	return c.v.payload.f.ReadAt(b, at)
}

// Environment tells a program, in variables, what it is run for.
func (v *Verified) Environment() []string {
	u := v.Update()
	return []string{
		"DUNLIN_PUBLISHER=" + u.Publisher, "DUNLIN_ID=" + u.ID, "DUNLIN_VERSION=" + u.Version,
		"DUNLIN_DESTINATION=" + v.by.cfg.place(u.Destination),
	}
}

// File returns the payload as it is held, to be run or handed on by its descriptor. It must not be closed.
func (v *Verified) File() *os.File { return v.payload.f }

// Close lets go of the payload.
func (v *Verified) Close() error { return v.payload.f.Close() }
