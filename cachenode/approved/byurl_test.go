package approved

import (
	"testing"

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
		"http://cdn.example/%63ontent/" + root.String():              true,
		"http://cdn.example/content/" + root.String() + "/x":         false,
		"http://cdn.example/other/" + root.String():                  false,
		"http://cdn.example/content/" + (piecehash.Root{4}).String(): false,
		"http://cdn.example/":                                        false,
		"http://cdn.example/%":                                       false,
	} {
		if got, ok := c.FindOrigin(url); ok != want || ok && got != root {
			t.Errorf("%s: %v, %v", url, got, ok)
		}
	}
}
