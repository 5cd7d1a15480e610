package metadata

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/tuf"
	"github.com/dunlin-project/dunlin/piecehash"
)

func (u *Update) check() error {
	return firstError(
		CheckPublisher(u.Publisher),
		CheckID(u.ID),
		CheckVersion(u.Version),
		checkText("title", u.Title, MaxTitle),
		demand(slices.Contains([]Kind{KindOS, KindApp, KindDriver, KindDefinition, KindStore}, u.Kind), "check kind: %.40q is none of os, app, driver, definition, store", u.Kind),
		demand(slices.Contains([]Severity{"", SeverityCritical, SeverityImportant, SeverityModerate, SeverityLow}, u.Severity), "check severity: %.40q is none of critical, important, moderate, low", u.Severity),
		demand(u.Release >= 1, "check release: %d: the release counter begins with 1", u.Release),
		checkTime("released", u.Released, true),
		u.checkContent(),
		u.checkRelations(),
		demand(len(u.Applicability) <= MaxExpression, "check applicability: %d bytes, at most %d", len(u.Applicability), MaxExpression),
		checkList("hardware", u.Hardware, MaxList, func(s string) error { return checkText("hardware", s, MaxTitle) }),
		u.checkHandler(),
		u.checkRemoval(),
		u.Signature.check(),
		checkBases("origins", u.Origins, "http", "https"),
	)
}

func (u *Update) checkContent() error {
	// The length is the target's; any will do to check the piece length by itself.
	if _, err := piecehash.NewContent(u.Root, 1, u.PieceLength); err != nil {
		return refuse("check piece_length: %w", err)
	}
	return demand(u.Uncompressed >= 0, "check uncompressed: %d", u.Uncompressed)
}

func (u *Update) checkRelations() error {
	if len(u.Requires) > MaxList {
		return refuse("check requires: %d entries, at most %d", len(u.Requires), MaxList)
	}
	for _, r := range u.Requires {
		if err := firstError(CheckID(r.ID), CheckVersion(r.Version)); err != nil {
			return err
		}
	}
	return checkList("supersedes", u.Supersedes, MaxList, func(id string) error {
		return firstError(CheckID(id), demand(id != u.ID, "check supersedes: %q supersedes itself", id))
	})
}

func (u *Update) checkHandler() error {
	err := firstError(
		checkName("handler", u.Handler, MaxNameLength),
		checkArguments("arguments", u.Arguments),
		checkTimeout("timeout", u.Timeout),
		checkMode(u.Mode),
		checkOwner(u.Owner),
		checkCodes("success_codes", u.Success),
		checkCodes("reboot_codes", u.Reboot))
	if err != nil {
		return err
	}
	if u.Destination != "" || u.Handler == HandlerFile || u.Handler == HandlerTree {
		if err := checkAbsolute("destination", u.Destination); err != nil {
			return err
		}
	}
	return firstError(
		demand(u.Handler != HandlerTree || u.Uncompressed > 0, "check uncompressed: an archive must say how much it unpacks to"),
		u.Health.check())
}

func checkMode(s string) error {
	if s == "" {
		return nil
	}
	m, err := strconv.ParseUint(s, 8, 32)
	return demand(err == nil && m <= 0o777, "check mode: %.20q is not octal permission bits up to 0777", s)
}

func checkOwner(s string) error {
	user, group, both := strings.Cut(s, ":")
	if s == "" {
		return nil
	}
	if err := checkWord("owner", user, "._-", true); err != nil {
		return err
	}
	if both {
		return checkWord("owner", group, "._-", true)
	}
	return nil
}

func checkCodes(what string, codes []int) error {
	if len(codes) > MaxList {
		return refuse("check %s: %d entries, at most %d", what, len(codes), MaxList)
	}
	for _, c := range codes {
		if c < 0 || c > 255 {
			return refuse("check %s: %d is no exit code", what, c)
		}
	}
	return nil
}

func (h *HealthCheck) check() error {
	if h == nil {
		return nil
	}
	if len(h.Command) == 0 {
		return refuse("check health_check: the command is missing")
	}
	return firstError(
		checkAbsolute("health_check", h.Command[0]),
		checkArguments("health_check", h.Command),
		checkTimeout("health_check", h.Timeout))
}

func (u *Update) checkRemoval() error {
	if u.Removable != nil {
		if err := checkArguments("removable", u.Removable.Arguments); err != nil {
			return err
		}
	}
	return demand(u.LowestDowngrade >= 0 && u.LowestDowngrade <= u.Release, "check lowest_downgrade: %d is not from 0 to the release, %d", u.LowestDowngrade, u.Release)
}

func (s *PayloadSignature) check() error {
	if err := firstError(checkScheme(s.Scheme), checkKeyID(s.KeyID)); err != nil {
		return err
	}
	if (s.Inline == "") == (s.URL == "") {
		return refuse("check signature: exactly one of inline and url must be there")
	}
	if s.URL != "" {
		return checkBase("signature", s.URL, "http", "https")
	}
	return demand(len(s.Inline) <= MaxSignature, "check signature: %d bytes, at most %d", len(s.Inline), MaxSignature)
}

func checkScheme(s string) error {
	if s == SchemeMinisign {
		return nil
	}
	return newerAgent("check signature: scheme %.40q is not known", s)
}

func checkKeyID(s string) error {
	_, err := strconv.ParseUint(s, 16, 64)
	return demand(err == nil && len(s) == 16 && s == strings.ToUpper(s), "check key id: %.40q is not 16 upper-case hex digits", s)
}

func (a *Approval) check() error {
	id, version, _ := strings.Cut(a.Catalogue, "/")
	return firstError(
		CheckID(id),
		CheckVersion(version),
		demand(slices.Contains([]Action{ActionInstall, ActionRemove, ActionHold}, a.Action), "check action: %.40q is none of install, remove, hold", a.Action),
		demand(a.Record != piecehash.Hash{} || a.Action == ActionHold, "check record: the digest of the approved record is missing"),
		checkTime("not_before", a.NotBefore, false),
		checkTime("deadline", a.Deadline, false),
		demand(a.ShareBP >= 0 && a.ShareBP <= FullShare, "check share_bp: %d is not from 0 to %d", a.ShareBP, FullShare),
	)
}

func (p *Publisher) check() error {
	return firstError(
		CheckPublisher(p.Name),
		checkKeys(p.Keys),
		checkList("handlers", p.Handlers, MaxList, func(s string) error { return checkName("handler", s, MaxNameLength) }),
		checkList("destinations", p.Destinations, MaxList, func(s string) error { return checkAbsolute("destinations", s) }),
		checkEndpoints("catalogues", p.Catalogues, p.CA, p.Pins),
		checkBases("origins", p.Origins, "http", "https"),
	)
}

func checkKeys(keys []PayloadKey) error {
	if len(keys) == 0 || len(keys) > MaxList {
		return refuse("check payload keys: %d, want 1 to %d: no key never means that anything is accepted", len(keys), MaxList)
	}
	for _, k := range keys {
		if err := k.check(); err != nil {
			return err
		}
	}
	return nil
}

// check reads the key as minisign writes it: base64 of "Ed", the key id in little endian, and the Ed25519 key.
func (k *PayloadKey) check() error {
	if err := firstError(checkScheme(k.Scheme), checkKeyID(k.ID)); err != nil {
		return err
	}
	b, err := base64.StdEncoding.Strict().DecodeString(k.Key)
	if err != nil || len(b) != 2+8+32 || string(b[:2]) != "Ed" {
		return refuse("check payload key: %.80q is not the base64 line of a minisign public key", k.Key)
	}
	if id := minisignID(b); id != k.ID {
		return refuse("check payload key: the key says that its id is %s, the record says %s", id, k.ID)
	}
	return nil
}

func minisignID(key []byte) string {
	return fmt.Sprintf("%016X", binary.LittleEndian.Uint64(key[2:10]))
}

func (f *Fleet) check() error {
	return firstError(
		checkBases("origins", f.Origins, "http", "https"),
		checkBases("caches", f.Caches, "http", "https"),
		checkEndpoints("depots", f.Depots, f.CA, f.Pins),
		checkText("group", f.Group, MaxIDLength),
		demand(f.Group != "", "check group: the name of the group is missing"),
		demand(len(f.Policy) == 0 || f.Policy[0] == '{', "check policy: it is no object"),
	)
}

// check refuses what a depot could not work with. The root is verified when the catalogue is opened.
func (t *Trust) check() error {
	return firstError(
		demand(t.Format == TrustFormat, "check format: %.40q, want %q", t.Format, TrustFormat),
		CheckPublisher(t.Publisher),
		demand(len(t.Root) > 0 && len(t.Root) <= tuf.MaxRootSize, "check root: %d bytes, want 1 to %d", len(t.Root), tuf.MaxRootSize),
		checkKeys(t.Keys),
		demand(len(t.Catalogues) > 0, "check catalogues: there is none"),
		checkEndpoints("catalogues", t.Catalogues, t.CA, t.Pins),
		checkBases("origins", t.Origins, "http", "https"),
	)
}

func (t *Token) check() error {
	err := firstError(
		demand(t.Version == TokenVersion, "check version: %d, want %d", t.Version, TokenVersion),
		demand(len(t.Depots) > 0, "check depots: there is none"),
		demand(len(t.Content) > 0, "check content: there is no URL of the plain listener"),
		checkBases("depots", t.Depots, "https"),
		checkBases("content", t.Content, "http"),
		demand(t.CA != Pin{}, "check ca: the pin of the depot's authority is missing"),
		demand(t.Root != piecehash.Hash{}, "check root: the hash of the approvals' root is missing"),
		demand(t.RootVersion >= 1, "check root_version: %d", t.RootVersion),
		CheckRing(t.Ring),
		checkText("secret", t.Secret, MaxIDLength),
	)
	if err != nil {
		return fault.New(fault.Usage, "%w", err)
	}
	return nil
}
