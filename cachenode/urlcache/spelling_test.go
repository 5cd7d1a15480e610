package urlcache

import (
	"net/url"
	"slices"
	"strings"
	"testing"
)

// TestCanonical: each line is one URL in all its spellings; the first is the canonical one. No two lines are the same URL.
func TestCanonical(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for _, same := range [][]string{
		{
			"http://h.com/a/b~c", "HTTP://H.Com/a/b~c", "http://h.com:80/a/b~c", "http://h.com:/a/b~c", "http://h.com/%61/b%7ec", "http://h.com/%61/b%7Ec",
			"http://h.com/./a/b~c", "http://h.com/x/../a/./b~c", "http://h.com/../../a/b~c", "http://h.com/%2E%2e/a/%2e/b~c", "http://h.com/a/b~c#top",
		},
		{"https://h.com/a/b~c", "https://h.com:443/a/b~c"},
		{"https://h.com:80/a/b~c"},
		{"http://h.com:8080/a/b~c"},
		{"http://h.com/a%2Fb~c", "http://h.com/a%2fb~c", "http://h.com/./%61%2fb~c"},
		{"http://h.com/a/B~c"},
		{"http://h.com/a//b~c"},
		{"http://h.com/a/b~c/", "http://h.com/a/b~c/.", "http://h.com/a/b~c/x/..", "http://h.com/a/b~c/x/%2e%2E"},
		{"http://h.com/a/b~c?"},
		{"http://h.com/a/b~c?x=%7e", "http://h.com/a/../a/b~c?x=%7e"},
		{"http://h.com/a/b~c?x=%7E"},
		{"http://h.com/a/b~c?x=~"},
		{"http://h.com/a/b~c?x=/../"},
		{"http://h.com/a%3Fx=~"},
		{"http://h.com/a%252Fb"},
		{"http://h.com/%C3%BC", "http://h.com/ü", "http://h.com/%c3%bc"},
		{"http://h.com/!"},
		{"http://h.com/%21"},
		{"http://h.com/...", "http://h.com/%2e.%2e"},
		{"http://h.com/", "http://h.com", "http://h.com/..", "http://h.com/a/..", "http://h.com/."},
		{"http://[fd00::1]/", "http://[FD00:0::1]:80/"},
		{"http://g.com/a/b~c"},
	} {
		for _, s := range same {
			if got, ok := Canonical(s); !ok || got != same[0] {
				t.Errorf("%s became %q, %v, want %s", s, got, ok, same[0])
			}
		}
		if seen[same[0]] {
			t.Errorf("%s is there twice", same[0])
		}
		seen[same[0]] = true
	}
	for _, s := range []string{
		"", "h.com/a", "//h.com/a", "ftp://h.com/a", "http:a", "http:///a", "http://u@h.com/a", "http://h.com/%", "http://h.com/%2", "http://h.com/%zz",
		"http://h.com:0/", "http://127.1/", "http://h.com/" + strings.Repeat("a", maxURL),
	} {
		if got, ok := Canonical(s); ok {
			t.Errorf("%.40q became %q", s, got)
		}
	}
}

// meaning takes a URL apart in another way: its host and port, the segments of its path without escapes, its query.
func meaning(t *testing.T, rawURL string) []string {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	host, _, _ := parseHost(strings.TrimSuffix(u.Host, ":"))
	out := []string{u.Scheme, host, port, u.RawQuery}
	bottom := len(out)
	segments := strings.Split(strings.TrimPrefix(u.EscapedPath(), "/"), "/")
	for i, s := range segments {
		plain, err := url.PathUnescape(s)
		if err != nil {
			t.Fatal(err)
		}
		switch plain {
		case ".", "..":
			if plain == ".." && len(out) > bottom {
				out = out[:len(out)-1]
			}
			if i == len(segments)-1 {
				out = append(out, "")
			}
		default:
			out = append(out, plain)
		}
	}
	return out
}

// FuzzCanonical: a URL keeps its meaning, and its form when it is canonical; two that become one mean the same.
func FuzzCanonical(f *testing.F) {
	for _, s := range [][2]string{
		{"http://h.com/a/../b%2f%7e?x=%7e", "HTTP://H.com:80/b%2F~?x=%7e"},
		{"https://[::1]:443/./..//a", "https://[::1]//a"},
		{"http://h.com:/%2e%2E/?", "http://h.com?"},
		{"http://h.com/a%252Fb", "http://h.com/a%2Fb"},
		{"http://h.com/ü %20[", "http://h.com/%C3%BC%20%20%5B"},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, one, other string) {
		a, ok := Canonical(one)
		if !ok {
			return
		}
		if again, ok := Canonical(a); !ok || again != a || len(a) > maxURL {
			t.Fatalf("%q became %q, and that %q", one, a, again)
		}
		if was, is := meaning(t, one), meaning(t, a); !slices.Equal(was, is) {
			t.Fatalf("%q became %q: %q, %q", one, a, was, is)
		}
		if b, ok := Canonical(other); ok && a == b && !slices.Equal(meaning(t, one), meaning(t, other)) {
			t.Fatalf("%q and %q both became %q", one, other, a)
		}
		if _, query, _ := strings.Cut(a, "?"); !strings.HasSuffix(one[:len(one)-len(fragment(one))], query) {
			t.Fatalf("%q became %q: another query", one, a)
		}
	})
}

func fragment(rawURL string) string {
	if i := strings.IndexByte(rawURL, '#'); i >= 0 {
		return rawURL[i:]
	}
	return ""
}
