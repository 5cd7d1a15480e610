package depot

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/repository"
	"github.com/dunlin-project/dunlin/piecehash"
)

// ApproveRequest asks to give an update to rings.
type ApproveRequest struct {
	Update    string          `json:"update"`           // PUBLISHER/ID@VERSION
	Rings     []string        `json:"rings"`            // at least one
	Action    metadata.Action `json:"action,omitempty"` // empty: install
	NotBefore time.Time       `json:"not_before,omitzero"`
	Deadline  time.Time       `json:"deadline,omitzero"`
	ShareBP   *int            `json:"share_bp,omitempty"`   // in basis points; nil: all
	NoPeering bool            `json:"no_peering,omitempty"` // each device asks the origin alone
	Downgrade bool            `json:"downgrade,omitempty"`  // may replace a newer release, as far as the publisher allows
}

// ApproveResult says what was signed, and what it took to have the content.
type ApproveResult struct {
	Approved []Approved `json:"approved"`
	Content  *Obtained  `json:"content,omitempty"` // install only
	Warning  string     `json:"warning,omitempty"` // the publisher did not answer; what was known of its catalogue was used
}

// Approved is one approval as it stands signed.
type Approved struct {
	Ring      string `json:"ring"`
	Publisher string `json:"publisher"`
	ID        string `json:"id"`
	Version   string `json:"version"`
	metadata.Approval
	Length int64          `json:"length"` // of the payload in bytes
	SHA256 piecehash.Hash `json:"sha256"`
}

// Ref names one version of an update, in text PUBLISHER/ID@VERSION.
type Ref struct{ Publisher, ID, Version string }

func (r Ref) String() string { return r.Publisher + "/" + r.ID + "@" + r.Version }

// ParseRef reads PUBLISHER/ID@VERSION. Errors are of kind fault.Usage.
func ParseRef(s string) (Ref, error) {
	publisher, rest, slash := strings.Cut(s, "/")
	id, version, at := strings.Cut(rest, "@")
	if !slash || !at {
		return Ref{}, fault.WithHint(fault.New(fault.Usage, "read update %.80q: it is not PUBLISHER/ID@VERSION", s), "for example acme/browser@1.4.2")
	}
	for _, err := range []error{metadata.CheckPublisher(publisher), metadata.CheckID(id), metadata.CheckVersion(version)} {
		if err != nil {
			return Ref{}, fault.New(fault.Usage, "read update %.80q: %w", s, err)
		}
	}
	return Ref{publisher, id, version}, nil
}

// Approve signs an update for rings: it brings the publisher's catalogue up to date, gets the content, and only then
// signs, for all rings in one transaction. When anything fails, nothing has been approved.
func (d *Depot) Approve(ctx context.Context, r ApproveRequest, now time.Time, tell func(Progress)) (*ApproveResult, error) {
	ref, err := d.checkApprove(&r)
	if err != nil {
		return nil, err
	}
	p, err := d.publisher(ref.Publisher)
	if err != nil {
		return nil, err
	}
	lock, err := d.lock(ctx, d.at.workLock(), tell)
	if err != nil {
		return nil, err
	}
	defer lock.Release()
	tell(Progress{Step: "sync " + p.Name})
	cat, synced := d.syncOne(ctx, p, now)
	if cat == nil {
		return nil, synced.Failure.Err()
	}
	target, err := findTarget(cat, ref)
	if err != nil {
		return nil, err
	}
	if err := permits(p, target, r); err != nil {
		return nil, err
	}
	out := &ApproveResult{}
	if synced.Failure != nil {
		out.Warning = synced.Failure.Text
	}
	if r.Action == metadata.ActionInstall {
		if err := cat.Stale(); err != nil {
			return nil, err
		}
		if out.Content, err = d.obtain(ctx, p, target, now, tell); err != nil {
			return nil, err
		}
	}
	out.Approved, err = d.signApproval(ctx, r, ref, target, now)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// checkApprove checks what needs no catalogue, and fills in what was left out.
func (d *Depot) checkApprove(r *ApproveRequest) (Ref, error) {
	ref, err := ParseRef(r.Update)
	if err != nil {
		return ref, err
	}
	if r.Action == "" {
		r.Action = metadata.ActionInstall
	}
	if r.ShareBP == nil {
		all := metadata.FullShare
		r.ShareBP = &all
	}
	r.NotBefore, r.Deadline = r.NotBefore.UTC().Truncate(time.Second), r.Deadline.UTC().Truncate(time.Second)
	if len(r.Rings) == 0 {
		return ref, fault.WithHint(fault.New(fault.Usage, "approve %v: for which ring?", ref), "--ring, one of: %s", strings.Join(d.set.Rings, ", "))
	}
	for _, ring := range r.Rings {
		if err := d.checkRing(ring); err != nil {
			return ref, err
		}
	}
	if !r.Deadline.IsZero() && r.Deadline.Before(r.NotBefore) {
		return ref, fault.New(fault.Usage, "approve %v: the deadline lies before the time it may begin at", ref)
	}
	_, err = r.approval(ref, piecehash.Hash{1}).Custom() // the rules for each value are those of the record
	if err != nil {
		return ref, fault.New(fault.Usage, "approve %v: %w", ref, err)
	}
	return ref, nil
}

func (r *ApproveRequest) approval(ref Ref, record piecehash.Hash) *metadata.Approval {
	return &metadata.Approval{
		Catalogue: metadata.CataloguePath(ref.ID, ref.Version), Record: record, Action: r.Action,
		NotBefore: r.NotBefore, Deadline: r.Deadline, ShareBP: *r.ShareBP, Peering: !r.NoPeering, Downgrade: r.Downgrade,
	}
}

// findTarget gives the update, or says what there is instead.
func findTarget(cat *metadata.Catalogue, ref Ref) (*metadata.Target, error) {
	path := metadata.CataloguePath(ref.ID, ref.Version)
	if t, ok := cat.Target(path); ok {
		return t, nil
	}
	if err := cat.Refused()[path]; err != nil {
		return nil, fmt.Errorf("approve %v: the catalogue has it, but it cannot be used: %w", ref, err)
	}
	return nil, fault.WithHint(fault.New(fault.Refused, "approve %v: the catalogue of %s does not have it", ref, ref.Publisher), "%s", whatThereIs(cat, ref))
}

// whatThereIs lists the versions of the id that was asked for, or else every update, newest releases first.
func whatThereIs(cat *metadata.Catalogue, ref Ref) string {
	const most = 20
	targets := slices.Clone(cat.Targets())
	if same := slices.DeleteFunc(slices.Clone(targets), func(t *metadata.Target) bool { return t.Update.ID != ref.ID }); len(same) > 0 {
		targets = same
	}
	if len(targets) == 0 {
		return "the catalogue is empty; the publisher has to release something first"
	}
	slices.SortStableFunc(targets, func(a, b *metadata.Target) int { return cmp.Compare(b.Update.Release, a.Update.Release) })
	var names []string
	for _, t := range targets[:min(len(targets), most)] {
		names = append(names, Ref{ref.Publisher, t.Update.ID, t.Update.Version}.String())
	}
	if left := len(targets) - len(names); left > 0 {
		names = append(names, fmt.Sprintf("and %d more", left))
	}
	return "there is: " + strings.Join(names, ", ")
}

// permits refuses what every device would refuse, so that it is said here and now.
func permits(p *metadata.Publisher, t *metadata.Target, r ApproveRequest) error {
	u := t.Update
	name := Ref{p.Name, u.ID, u.Version}
	outside := slices.IndexFunc(u.Writes(), func(w string) bool {
		return !slices.ContainsFunc(p.Destinations, func(prefix string) bool { return within(w, prefix) })
	})
	switch {
	case r.Action == metadata.ActionHold:
		return nil
	case r.Action == metadata.ActionRemove && u.Removable == nil:
		return fault.WithHint(fault.New(fault.Refused, "approve %v for removal: its publisher does not say that it can be removed", name), "hold it instead: --action hold")
	case !slices.Contains(p.Handlers, u.Handler):
		return widen(name, fmt.Sprintf("installs with handler %s", u.Handler), strings.Join(p.Handlers, ", "))
	case u.Health != nil && !slices.Contains(p.Handlers, metadata.HandlerExec):
		return widen(name, fmt.Sprintf("has a health check, which needs handler %s", metadata.HandlerExec), strings.Join(p.Handlers, ", "))
	case outside >= 0:
		return widen(name, fmt.Sprintf("installs to %.80q", u.Writes()[outside]), strings.Join(p.Destinations, ", "))
	case !slices.ContainsFunc(p.Keys, func(k metadata.PayloadKey) bool { return k.Scheme == u.Signature.Scheme && k.ID == u.Signature.KeyID }):
		return fault.WithHint(fault.New(fault.Refused, "approve %v: its payload is signed with key %.40q, which is not among those trusted", name, u.Signature.KeyID),
			"if the publisher has a new key, add its new trust file with `dunlin depot publisher add`")
	}
	return nil
}

func widen(name Ref, does, allowed string) error {
	return fault.WithHint(fault.New(fault.Refused, "approve %v: it %s, which the organisation does not allow %s (allowed: %s)", name, does, name.Publisher, allowed),
		"to allow it, add the publisher again with --handler and --dest")
}

// within reports whether an absolute clean path is the prefix or below it, by whole elements.
func within(path, prefix string) bool {
	return prefix == "/" || path == prefix || strings.HasPrefix(path, prefix+"/")
}

func (d *Depot) signApproval(ctx context.Context, r ApproveRequest, ref Ref, t *metadata.Target, now time.Time) ([]Approved, error) {
	approval := r.approval(ref, t.Record)
	custom, err := approval.Custom()
	if err != nil {
		return nil, err
	}
	err = d.update(ctx, now, nil, func(e *repository.Edit) error {
		// Meanwhile the publisher may have been removed, by a command with the offline key.
		if _, ok := e.Target(repository.RoleTargets, metadata.PublisherPath(ref.Publisher)); !ok {
			return fault.New(fault.Refused, "approve %v: the organisation no longer trusts %s", ref, ref.Publisher)
		}
		for _, ring := range r.Rings {
			signed := repository.Target{Length: t.Length, SHA256: t.SHA256, Custom: custom}
			if err := e.SetTarget(metadata.RingRole(ring), metadata.ApprovalPath(ring, ref.Publisher, ref.ID, ref.Version), signed); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var out []Approved
	for _, ring := range r.Rings {
		out = append(out, Approved{Ring: ring, Publisher: ref.Publisher, ID: ref.ID, Version: ref.Version, Approval: *approval, Length: t.Length, SHA256: t.SHA256})
	}
	d.log.InfoContext(ctx, "approved", slog.String("update", ref.String()), slog.String("action", string(r.Action)), slog.Any("rings", r.Rings))
	return out, nil
}

// UnapproveRequest asks to take approvals back. Devices that have installed the update keep it.
type UnapproveRequest struct {
	Update string   `json:"update"`          // PUBLISHER/ID@VERSION
	Rings  []string `json:"rings,omitempty"` // empty: wherever it is approved
}

// UnapproveResult says for which rings there was an approval.
type UnapproveResult struct {
	Rings []string `json:"rings"`
}

// Unapprove takes approvals back with the next version of the metadata. What was not approved is refused.
func (d *Depot) Unapprove(ctx context.Context, r UnapproveRequest, now time.Time) (*UnapproveResult, error) {
	ref, err := ParseRef(r.Update)
	if err != nil {
		return nil, err
	}
	rings := r.Rings
	if len(rings) == 0 {
		rings = d.set.Rings
	}
	for _, ring := range rings {
		if err := d.checkRing(ring); err != nil {
			return nil, err
		}
	}
	out := &UnapproveResult{}
	err = d.update(ctx, now, nil, func(e *repository.Edit) error {
		for _, ring := range rings {
			if e.RemoveTarget(metadata.RingRole(ring), metadata.ApprovalPath(ring, ref.Publisher, ref.ID, ref.Version)) {
				out.Rings = append(out.Rings, ring)
			}
		}
		if len(out.Rings) == 0 {
			return fault.WithHint(fault.New(fault.Refused, "unapprove %v: it is not approved for %s", ref, strings.Join(rings, ", ")), "`dunlin depot list` shows what is")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	d.log.InfoContext(ctx, "unapproved", slog.String("update", ref.String()), slog.Any("rings", out.Rings))
	return out, nil
}

// ListRequest asks what is approved.
type ListRequest struct {
	Rings []string `json:"rings,omitempty"` // empty: all
}

// ListResult says what is approved, by ring and then by name.
type ListResult struct {
	Rings    []string   `json:"rings"` // that were asked for
	Approved []Approved `json:"approved"`
}

// List says what is approved where.
func (d *Depot) List(r ListRequest) (*ListResult, error) {
	out := &ListResult{Rings: r.Rings, Approved: []Approved{}}
	if len(out.Rings) == 0 {
		out.Rings = d.set.Rings
	}
	view, err := d.repo.View()
	if err != nil {
		return nil, err
	}
	for _, ring := range out.Rings {
		if err := d.checkRing(ring); err != nil {
			return nil, err
		}
		list, err := approvedIn(view, ring)
		if err != nil {
			return nil, err
		}
		out.Approved = append(out.Approved, list...)
	}
	return out, nil
}

func approvedIn(view *repository.View, ring string) ([]Approved, error) {
	var out []Approved
	for path, t := range view.Targets(metadata.RingRole(ring)) {
		a, err := metadata.ParseApproval(t.Custom)
		if err != nil {
			return nil, fmt.Errorf("read approval %s: %w", path, err)
		}
		elem := strings.Split(path, "/")
		if len(elem) != 4 {
			return nil, fmt.Errorf("read approval %s: the path has not four elements", path)
		}
		out = append(out, Approved{Ring: ring, Publisher: elem[1], ID: elem[2], Version: elem[3], Approval: *a, Length: t.Length, SHA256: t.SHA256})
	}
	slices.SortFunc(out, func(a, b Approved) int {
		return strings.Compare(a.Publisher+"/"+a.ID+"@"+a.Version, b.Publisher+"/"+b.ID+"@"+b.Version)
	})
	return out, nil
}
