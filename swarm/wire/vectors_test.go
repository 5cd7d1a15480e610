package wire

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/vectors.txt anew")

const vectorFile = "testdata/vectors.txt"

const vectorHead = `# Messages of the swarm's protocols, as docs/protocol.md defines them, for any implementation to try.
# A line is: protocol, what must become of it, the whole frame in hex, and what it is.
#   valid      decodes, and encodes to the same bytes
#   ignored    is skipped: a kind that this version does not know
#   malformed  ends the connection
`

// TestVectors runs every line of the file that is published beside the protocol.
func TestVectors(t *testing.T) {
	t.Parallel()
	if *update {
		if err := os.WriteFile(vectorFile, []byte(vectorHead+strings.Join(vectors(), "")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != vectorHead+strings.Join(vectors(), "") {
		t.Errorf("%s is not what this package encodes: a change of the protocol needs a new version; -update writes it", vectorFile)
	}
	for line := range strings.Lines(string(b)) {
		if !strings.HasPrefix(line, "#") {
			runVector(t, strings.SplitN(strings.TrimSpace(line), " ", 4))
		}
	}
}

func runVector(t *testing.T, f []string) {
	frame, err := hex.DecodeString(f[2])
	if err != nil {
		t.Fatal(err)
	}
	c := codecs()[f[0]]
	m, err := c.decode(body(t, frame))
	switch {
	case f[1] == "malformed" && err == nil:
		t.Errorf("%v: decodes as %#v", f, m)
	case f[1] == "ignored" && (err != nil || m != nil):
		t.Errorf("%v: %#v, %v", f, m, err)
	case f[1] == "valid" && err != nil:
		t.Errorf("%v: %v", f, err)
	case f[1] == "valid" && hex.EncodeToString(c.encode(m)) != f[2]:
		t.Errorf("%v: encodes as %x", f, c.encode(m))
	}
}

func vectors() (lines []string) {
	line := func(proto, fate string, frame []byte, what string) {
		lines = append(lines, fmt.Sprintf("%s %s %x %s\n", proto, fate, frame, what))
	}
	s := samples()
	for _, proto := range []string{"auth", "site", "ask", "answer", "layer"} {
		for _, m := range s[proto] {
			line(proto, "valid", codecs()[proto].encode(m), reflect.TypeOf(m).Elem().Name())
		}
		line(proto, "ignored", Frame(envelope(200, []byte{8, 1})), "an unknown kind")
		line(proto, "malformed", Frame([]byte{8, 1}), "a kind that is a number")
		line(proto, "malformed", Frame(slices.Concat(envelope(200, nil), envelope(200, nil))), "two messages in one frame")
	}
	line("site", "malformed", Frame(envelope(3, []byte{8, 1, 18, 2, 1, 0})), "a run of no pieces")
	line("site", "malformed", Frame(envelope(2, []byte{8, 1, 16, 7, 26, 1, 1})), "a bitmap that begins within a byte")
	line("site", "malformed", Frame(envelope(5, []byte{8, 1, 24, 1, 50, 1, 9})), "another's word without a number")
	line("site", "malformed", Frame(envelope(5, []byte{8, 1, 24, 1, 56, 1, 64, 9})), "a word that is passed on too often")
	line("site", "malformed", Frame(envelope(3, []byte{8, 1, 18, 4, 1, 1, 5, 1, 56, 1})), "two runs under one number")
	line("site", "malformed", Frame(envelope(6, []byte{8, 1, 26, 3, 1, 2, 3})), "a list of links that ends within one")
	line("answer", "malformed", Frame(envelope(1, []byte{34, 1, 0, 8, 1})), "a slice whose data is not the last field")
	return lines
}
