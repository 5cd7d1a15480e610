package approved

import (
	"testing"

	"github.com/dunlin-project/dunlin/cachenode/urlcache"
	"github.com/dunlin-project/dunlin/piecehash"
)

// TestFindOrigin: by whatever origin, and however it is spelt, approved content is found by its root; so is what is withdrawn.
func TestFindOrigin(t *testing.T) {
	t.Parallel()
	root := piecehash.Root{1, 2, 3}
	c := new(Catalogue)
	c.set(&ledger{byRoot: map[piecehash.Root]*entry{root: {}}})
	for url, want := range map[string]bool{
		"http://cdn.example/content/" + root.String():                true,
		"http://cdn.example/a/b/content/" + root.String():            true,
		"HTTP://CDN.example:80/b/../%63ontent/" + root.String():      true,
		"http://cdn.example/content%2F" + root.String():              false,
		"http://cdn.example/a%2Fcontent/" + root.String():            false,
		"http://cdn.example/content/" + root.String() + "/x":         false,
		"http://cdn.example/other/" + root.String():                  false,
		"http://cdn.example/content/" + (piecehash.Root{4}).String(): false,
		"http://cdn.example/":                                        false,
		"http://cdn.example/%":                                       false,
	} {
		if got, ok := c.FindOrigin(canonical(url)); ok != want || ok && got != root {
			t.Errorf("%s: %v, %v", url, got, ok)
		}
	}
}

// canonical is a URL as the node asks for it.
func canonical(rawURL string) string {
	url, _ := urlcache.Canonical(rawURL)
	return url
}
