package depot

import (
	"path"
	"strings"
	"testing"
)

var (
	rootA = strings.Repeat("0a", 32)
	rootB = strings.Repeat("f9", 32)
)

func TestPathsOfTheSecureListener(t *testing.T) {
	t.Parallel()
	for p, want := range map[string]class{
		"/v1/approvals/metadata/timestamp.json":              classVolatile,
		"/v1/approvals/metadata/1.root.json":                 classSigned,
		"/v1/approvals/metadata/12.snapshot.json":            classSigned,
		"/v1/approvals/metadata/7.targets.json":              classSigned,
		"/v1/approvals/metadata/7.ring-pilot.json":           classSigned,
		"/v1/approvals/targets/publisher/" + rootA + ".acme": classSigned,
		"/v1/approvals/targets/" + rootA + ".fleet":          classSigned,
		"/v1/catalogue/acme/metadata/timestamp.json":         classVolatile,
		"/v1/catalogue/acme/metadata/3.targets.json":         classSigned,
		"/v1/layer/" + rootA:                                 classBulk,
	} {
		got, ok := parseSecure(p)
		if !ok || got.class != want || "/"+got.name != p {
			t.Errorf("%s: got %+v, %v", p, got, ok)
		}
	}
}

func TestPathsOfThePlainListener(t *testing.T) {
	t.Parallel()
	if got, ok := parsePlain("/ca.pem"); !ok || got.name != "ca.pem" || got.class != classVolatile {
		t.Errorf("ca.pem: %+v %v", got, ok)
	}
	if got, ok := parsePlain("/content/" + rootA); !ok || got.root != rootA || got.class != classBulk {
		t.Errorf("content: %+v %v", got, ok)
	}
	if _, ok := parseSecure("/content/" + rootA); ok {
		t.Error("content is reachable on the secure listener, which counts no bytes of it")
	}
	if _, ok := parsePlain("/v1/approvals/metadata/timestamp.json"); ok {
		t.Error("metadata is reachable without TLS")
	}
}

// hostilePaths are refused by both listeners.
var hostilePaths = []string{
	"", "/", "*", "//", "/.", "/..", "/content", "/content/", "/content//" + rootA, "/content/" + rootA + "/",
	"/content/../ca.pem", "/content/%2e%2e/ca.pem", "/content/..%2fca.pem", "/content/" + strings.ToUpper(rootA),
	"/content/" + rootA[:63], "/content/" + rootA + "0", "/content/" + rootA + ".part", "/content/" + rootA + "\x00",
	"/content/" + rootA + "%00", "//content/" + rootA, "content/" + rootA, "/Content/" + rootA, "/ca.pem/", "/ca.pem?x",
	"/keys/online/timestamp.key", "/../keys/online/timestamp.key", "/admin.sock", "/depot.json",
	"/v1", "/v1/", "/v1/layer/", "/v1/layer/" + rootA + "/x", "/v1/approvals/", "/v1/approvals/metadata/",
	"/v1/approvals/metadata/root.json", "/v1/approvals/metadata/0.root.json", "/v1/approvals/metadata/01.root.json",
	"/v1/approvals/metadata/-1.root.json", "/v1/approvals/metadata/1.timestamp.json", "/v1/approvals/metadata/1.json",
	"/v1/approvals/metadata/1..json", "/v1/approvals/metadata/1.ro ot.json", "/v1/approvals/metadata/1.root.json.zst",
	"/v1/approvals/metadata/1.a/b.json", "/v1/approvals/metadata/1.a%2fb.json", "/v1/approvals/metadata/../record",
	"/v1/approvals/metadata/1234567890123456.root.json", "/v1/approvals/metadata/" + strings.Repeat("1", 300) + ".root.json",
	"/v1/approvals/metadata/.1.root.json.x.dunlin-tmp", "/v1/approvals/metadata/1.Root.json",
	"/v1/approvals/targets/fleet", "/v1/approvals/targets/" + rootA, "/v1/approvals/targets/" + rootA + ".other",
	"/v1/approvals/targets/publisher/" + rootA + ".", "/v1/approvals/targets/publisher/acme",
	"/v1/approvals/targets/publisher/" + rootA + ".a/b", "/v1/approvals/targets/publisher/../" + rootA + ".fleet",
	"/v1/catalogue/", "/v1/catalogue//metadata/timestamp.json", "/v1/catalogue/../metadata/timestamp.json",
	"/v1/catalogue/Acme/metadata/timestamp.json", "/v1/catalogue/acme/timestamp.json",
	"/v1/catalogue/acme/metadata/x/metadata/timestamp.json", "/v1/catalogue/a/b/metadata/timestamp.json",
	"/v1/catalogue/acme/metadata/../../../approvals/metadata/timestamp.json", "/v1/catalogue/acme/metadata/",
	"\\v1\\layer\\" + rootA, "/v1/layer\\" + rootA, "/v1/layer/" + rootA + "#", "/v1/layer/" + rootA + ";x",
}

func TestHostilePathsAreRefused(t *testing.T) {
	t.Parallel()
	for _, p := range hostilePaths {
		if got, ok := parseSecure(p); ok {
			t.Errorf("secure listener takes %q as %+v", p, got)
		}
		if got, ok := parsePlain(p); ok {
			t.Errorf("plain listener takes %q as %+v", p, got)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	for _, p := range hostilePaths {
		f.Add(p)
	}
	f.Add("/content/" + rootB)
	f.Add("/v1/catalogue/acme/metadata/3.targets.json")
	f.Add("/v1/approvals/targets/publisher/" + rootA + ".acme")
	f.Fuzz(func(t *testing.T, p string) {
		for _, parse := range []parsePath{parseSecure, parsePlain} {
			got, ok := parse(p)
			if !ok {
				continue
			}
			if "/"+got.name != p || path.Clean(p) != p || strings.ContainsAny(p, "%\\\x00 ?#;") || strings.Contains(p, "..") {
				t.Errorf("%q was taken as %+v", p, got)
			}
			for seg := range strings.SplitSeq(got.name, "/") {
				if strings.HasPrefix(seg, ".") {
					t.Errorf("%q names a hidden file", p)
				}
			}
		}
	})
}
