package signature_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"aead.dev/minisign"

	"github.com/dunlin-project/dunlin/install/signature"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

const comment = "version 2.1 of the app"

func payload() []byte { return []byte(strings.Repeat("what was signed ", 10_000)) }

func digests(b []byte) signature.Digests {
	h := signature.NewHasher()
	for _, part := range [][]byte{b[:len(b)/3], b[len(b)/3:]} {
		_, _ = h.Write(part)
	}
	return h.Digests()
}

// signer is a publisher's key.
type signer struct{ private minisign.PrivateKey }

func newSigner(t testing.TB, seed byte) signer {
	t.Helper()
	_, private, err := minisign.GenerateKey(bytes.NewReader(bytes.Repeat([]byte{seed}, 1000)))
	if err != nil {
		t.Fatal(err)
	}
	return signer{private}
}

func (s signer) key() metadata.PayloadKey {
	public := s.private.Public().(minisign.PublicKey)
	return metadata.PayloadKey{Scheme: metadata.SchemeMinisign, ID: fmt.Sprintf("%016X", public.ID()), Key: public.String()}
}

func (s signer) sign(b []byte) []byte {
	r := minisign.NewReader(bytes.NewReader(b))
	_, _ = io.Copy(io.Discard, r)
	return r.SignWithComments(s.private, comment, "not covered")
}

func TestDigests(t *testing.T) {
	t.Parallel()
	d := digests([]byte("abc"))
	if d.Length != 3 || d.SHA256.String() != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" {
		t.Errorf("%d bytes, %v", d.Length, d.SHA256)
	}
	if got := fmt.Sprintf("%x", d.BLAKE2b[:8]); got != "ba80a53f981c4d0d" { // RFC 7693, appendix A
		t.Errorf("BLAKE2b %s...", got)
	}
}

func TestMinisign(t *testing.T) {
	t.Parallel()
	s := newSigner(t, 1)
	sig := s.sign(payload())
	for name, file := range map[string][]byte{
		"as written":         sig,
		"without line break": bytes.TrimSuffix(sig, []byte("\n")),
		"from Windows":       bytes.ReplaceAll(sig, []byte("\n"), []byte("\r\n")),
		"another untrusted":  bytes.Replace(sig, []byte("not covered"), []byte("anything"), 1),
	} {
		id, err := signature.Minisign{}.Verify(digests(payload()), file, s.key())
		if err != nil || id.KeyID != s.key().ID || id.Comment != comment {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
	}
}

func TestMinisignAttacks(t *testing.T) {
	t.Parallel()
	s, other := newSigner(t, 1), newSigner(t, 2)
	sig := s.sign(payload())
	lines := strings.SplitAfter(string(sig), "\n")
	legacy := minisign.SignWithComments(s.private, payload(), comment, "")
	// A legacy signature over the digest would pass for a prehashed one if the two letters were not looked at.
	d := digests(payload())
	legacyOfDigest := minisign.SignWithComments(s.private, d.BLAKE2b[:], comment, "")
	imposter := other.key()
	imposter.ID = s.key().ID
	broken := s.key()
	broken.Key = broken.Key[:40]
	for name, a := range map[string]struct {
		file []byte
		key  metadata.PayloadKey
		d    signature.Digests
	}{
		"empty":                {[]byte{}, s.key(), d},
		"nothing":              {nil, s.key(), d},
		"text":                 {[]byte("<html>\n\n\n</html>"), s.key(), d},
		"cut":                  {sig[:len(sig)-20], s.key(), d},
		"two lines":            {[]byte(lines[0] + lines[1]), s.key(), d},
		"one line more":        {append(bytes.Clone(sig), "more\n"...), s.key(), d},
		"two signatures":       {append(bytes.Clone(sig), sig...), s.key(), d},
		"100 MB":               {bytes.Repeat([]byte("A"), 100<<20), s.key(), d},
		"edited comment":       {bytes.Replace(sig, []byte("2.1"), []byte("9.9"), 1), s.key(), d},
		"comment of another":   {[]byte(lines[0] + lines[1] + "trusted comment: version 2.2 of the app\n" + lines[3]), s.key(), d},
		"another payload":      {sig, s.key(), digests([]byte("another payload"))},
		"one bit":              {sig, s.key(), digests(flip(payload(), 1000))},
		"no payload":           {sig, s.key(), signature.Digests{}},
		"another key":          {other.sign(payload()), s.key(), d},
		"against another key":  {sig, other.key(), d},
		"key under another id": {other.sign(payload()), imposter, d},
		"no key":               {sig, metadata.PayloadKey{}, d},
		"half a key":           {sig, broken, d},
		"key of other scheme":  {sig, metadata.PayloadKey{Scheme: "cms", ID: s.key().ID, Key: s.key().Key}, d},
		"legacy":               {legacy, s.key(), d},
		"legacy of the digest": {legacyOfDigest, s.key(), d},
		"line break in base64": {[]byte(lines[0] + lines[1][:20] + "\r" + lines[1][20:] + lines[2] + lines[3]), s.key(), d},
		"unused bits in base64": {
			[]byte(lines[0] + strings.TrimSuffix(lines[1], "=\n") + "=\n" + lines[2] + loosen(lines[3])), s.key(), d,
		},
	} {
		id, err := signature.Minisign{}.Verify(a.d, a.file, a.key)
		if !fault.Is(err, fault.Untrusted) || fault.Hint(err) == "" || id != (signature.Identity{}) {
			t.Errorf("%s: %+v, %v (%s)", name, id, err, fault.Hint(err))
		}
		if err != nil && len(err.Error()) > 400 {
			t.Errorf("%s: a message of %d bytes", name, len(err.Error()))
		}
	}
}

// TestEveryBit flips each bit of a signature file: none may be without meaning, but for the comment that nobody trusts.
func TestEveryBit(t *testing.T) {
	t.Parallel()
	s := newSigner(t, 1)
	sig, d := s.sign(payload()), digests(payload())
	start, end := len("untrusted comment: "), bytes.IndexByte(sig, '\n')
	for i := range len(sig) * 8 {
		if at := i / 8; at >= start && at < end || at == len(sig)-1 {
			continue
		}
		bad := bytes.Clone(sig)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := (signature.Minisign{}).Verify(d, bad, s.key()); !fault.Is(err, fault.Untrusted) {
			t.Errorf("bit %d of byte %d: %v", i%8, i/8, err)
		}
	}
}

func flip(b []byte, bit int) []byte {
	b = bytes.Clone(b)
	b[bit/8] ^= 1 << (bit % 8)
	return b
}

// loosen sets bits of the last base64 group that stand for nothing.
func loosen(line string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	line = strings.TrimSuffix(line, "\n")
	last := strings.TrimRight(line, "=")
	i := strings.IndexByte(alphabet, last[len(last)-1])
	return last[:len(last)-1] + string(alphabet[i^1]) + line[len(last):] + "\n"
}

// TestTheToolItself checks a signature that stock minisign has made.
func TestTheToolItself(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("minisign")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("minisign is not installed")
	}
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
			t.Fatalf("minisign %v: %v\n%s", args, err, out)
		}
	}
	if err := os.WriteFile(in("payload"), payload(), 0o600); err != nil {
		t.Fatal(err)
	}
	run("-G", "-W", "-p", in("public"), "-s", in("secret"))
	run("-S", "-s", in("secret"), "-m", in("payload"), "-x", in("sig"), "-t", comment)
	sig, err := os.ReadFile(in("sig"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (signature.Minisign{}).Verify(digests(payload()), sig, readKey(t, in("public"))); err != nil {
		t.Error(err)
	}
	run("-S", "-l", "-s", in("secret"), "-m", in("payload"), "-x", in("legacy"))
	legacy, err := os.ReadFile(in("legacy"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (signature.Minisign{}).Verify(digests(payload()), legacy, readKey(t, in("public"))); !fault.Is(err, fault.Untrusted) || !strings.Contains(err.Error(), "legacy") {
		t.Errorf("legacy: %v", err)
	}
}

func readKey(t *testing.T, path string) metadata.PayloadKey {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Split(string(b), "\n")[1]
	raw, err := base64.StdEncoding.DecodeString(line)
	if err != nil {
		t.Fatal(err)
	}
	id := ""
	for _, c := range raw[2:10] {
		id = fmt.Sprintf("%02X", c) + id
	}
	return metadata.PayloadKey{Scheme: metadata.SchemeMinisign, ID: id, Key: line}
}

func FuzzMinisign(f *testing.F) {
	s := newSigner(f, 1)
	sig, d := s.sign(payload()), digests(payload())
	f.Add(sig)
	f.Add(minisign.SignWithComments(s.private, payload(), comment, ""))
	f.Add([]byte("untrusted comment: \nAAAA\ntrusted comment: \nAAAA"))
	signed := bytes.SplitAfter(sig, []byte("\n"))[1]
	f.Fuzz(func(t *testing.T, file []byte) {
		id, err := signature.Minisign{}.Verify(d, file, s.key())
		if err != nil {
			if !fault.Is(err, fault.Untrusted) {
				t.Errorf("%v: %v", fault.Of(err), err)
			}
			return
		}
		if id.Comment != comment || !bytes.Contains(bytes.ReplaceAll(file, []byte("\r"), nil), signed) {
			t.Errorf("accepted %q", file)
		}
	})
}
