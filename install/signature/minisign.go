package signature

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"strings"

	"aead.dev/minisign"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

// MaxSize bounds a signature file, in bytes.
const MaxSize = metadata.MaxSignature

// Identity says who signed.
type Identity struct {
	KeyID   string // as in metadata.PayloadKey.ID
	Comment string // what the signer said with it; signed, too, but for people only: quote it before printing
}

// Minisign is the scheme of the tool of the same name, in its prehashed form only: Ed25519 over the BLAKE2b-512 of the
// file. The legacy form signs the file itself, which cannot be checked on a digest, and is refused. The zero value is
// ready for use.
type Minisign struct{}

// Verify reports whether file is a signature by key over what d was made from. Everything that does not check out is
// fault.Untrusted: a damaged or foreign file, another key, another payload, an edited trusted comment.
func (Minisign) Verify(d Digests, file []byte, key metadata.PayloadKey) (Identity, error) {
	sig, err := parseMinisign(file)
	if err != nil {
		return Identity{}, wrong("read minisign signature: %w", err)
	}
	public, err := minisignKey(key)
	if err != nil {
		return Identity{}, fault.WithHint(fault.New(fault.Untrusted, "read minisign key %.20q: %w", key.ID, err),
			"have the publisher's trust file made and added at the depot again")
	}
	if id := fmt.Sprintf("%016X", sig.KeyID); id != key.ID {
		return Identity{}, fault.WithHint(
			fault.New(fault.Untrusted, "check minisign signature: it was made with key %s, not with %s", id, key.ID),
			"the publisher must sign with the key that the organisation trusts")
	}
	if !ed25519.Verify(public, d.BLAKE2b[:], sig.Signature[:]) {
		return Identity{}, wrong("check minisign signature: key %s has not signed this payload", key.ID)
	}
	// The second signature covers the first and the comment, so that neither can be moved to another file.
	if !ed25519.Verify(public, append(sig.Signature[:], sig.TrustedComment...), sig.CommentSignature[:]) {
		return Identity{}, wrong("check minisign signature: its trusted comment is not what key %s has signed", key.ID)
	}
	return Identity{KeyID: key.ID, Comment: sig.TrustedComment}, nil
}

func wrong(format string, args ...any) error {
	return fault.WithHint(fault.New(fault.Untrusted, format, args...),
		"do not use the payload; ask the publisher, by another way than it came, what was signed and with which key")
}

// parseMinisign takes exactly the four lines that the tool writes. The library would also take line breaks within the
// base64 and unused bits at its end, so that one signature had many forms.
func parseMinisign(file []byte) (*minisign.Signature, error) {
	if len(file) > MaxSize {
		return nil, fmt.Errorf("%d bytes, at most %d", len(file), MaxSize)
	}
	text := strings.TrimSuffix(strings.ReplaceAll(string(file), "\r\n", "\n"), "\n")
	var sig minisign.Signature
	if err := sig.UnmarshalText([]byte(text)); err != nil {
		return nil, err
	}
	if sig.String() != text+"\n" {
		return nil, fmt.Errorf("it is not in the form that minisign writes")
	}
	if sig.Algorithm != minisign.HashEdDSA {
		return nil, fmt.Errorf("it is of the legacy form that is not prehashed; sign with minisign -S -H")
	}
	return &sig, nil
}

func minisignKey(key metadata.PayloadKey) (ed25519.PublicKey, error) {
	if key.Scheme != metadata.SchemeMinisign {
		return nil, fmt.Errorf("it is a key of scheme %.20q", key.Scheme)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(key.Key)
	if err != nil || len(raw) != 2+8+ed25519.PublicKeySize {
		return nil, fmt.Errorf("it is not the base64 line of a minisign public key")
	}
	var public minisign.PublicKey
	if err := public.UnmarshalText([]byte(key.Key)); err != nil {
		return nil, err
	}
	if id := fmt.Sprintf("%016X", public.ID()); id != key.ID {
		return nil, fmt.Errorf("the key says that its id is %s", id)
	}
	return ed25519.PublicKey(raw[2+8:]), nil
}
