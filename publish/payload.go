package publish

import (
	"fmt"
	"strings"
	"unicode"

	"aead.dev/minisign"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

// maxFileName bounds the file name in a trusted comment, in bytes.
const maxFileName = 200

func payloadKeyOf(pub minisign.PublicKey) metadata.PayloadKey {
	return metadata.PayloadKey{Scheme: metadata.SchemeMinisign, ID: fmt.Sprintf("%016X", pub.ID()), Key: pub.String()}
}

// payloadSigner signs payloads with the newest payload key.
type payloadSigner struct {
	key    metadata.PayloadKey
	secret minisign.PrivateKey
}

func (p *Publisher) payloadSigner(s *settings) (*payloadSigner, error) {
	if len(s.Payload) == 0 {
		return nil, fault.New(fault.Refused, "read payload key: the settings name none")
	}
	text, err := p.store.Offline(keyPayload, p.unlock)
	if err != nil {
		return nil, err
	}
	var secret minisign.PrivateKey
	if err := secret.UnmarshalText(text); err != nil {
		return nil, fault.New(fault.Usage, "read key %s: %w", keyPayload, err)
	}
	pub, ok := secret.Public().(minisign.PublicKey)
	key := s.Payload[len(s.Payload)-1]
	if !ok || payloadKeyOf(pub) != key {
		return nil, fault.WithHint(fault.New(fault.Refused, "read key %s: it is not key %s, which the trust file names", keyPayload, key.ID),
			"mount the right folder of offline keys")
	}
	return &payloadSigner{key, secret}, nil
}

// sign signs what has been read through r: Ed25519 over BLAKE2b-512, as `minisign -S` does.
func (s *payloadSigner) sign(r *minisign.Reader, comment string) metadata.PayloadSignature {
	file := r.SignWithComments(s.secret, comment, "signature of a dunlin payload, key "+s.key.ID)
	return metadata.PayloadSignature{Scheme: s.key.Scheme, KeyID: s.key.ID, Inline: string(file)}
}

// TrustedComment is what a payload's signature says beside the bytes: which update of which publisher they are, so that
// a signed file cannot be passed off as another update. `minisign -V` prints it.
func TrustedComment(publisher, id, version, file string) string {
	return fmt.Sprintf("dunlin publisher=%s id=%s version=%s file=%s", publisher, id, version, plainName(file))
}

// plainName keeps a file name to one printable word.
func plainName(name string) string {
	name = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != ' ' {
			return r
		}
		return '_'
	}, name)
	if len(name) > maxFileName {
		name = strings.ToValidUTF8(name[:maxFileName], "")
	}
	return name
}
