package archtest

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// minComment is how long a package comment must be to say what the package is, what it trusts and where to start, in
// bytes.
const minComment = 100

// Check returns what is wrong in the tree of a module, a sentence each, in a stable order.
func Check(module fs.FS) ([]string, error) {
	packages, err := readTree(module)
	if err != nil {
		return nil, err
	}
	rules := rules{layers: parseTable(layers), homes: parseTable(homes)}
	var out []string
	for _, p := range packages {
		out = append(out, checkComment(p)...)
		for _, f := range p.files {
			for _, imported := range f.imports {
				if why := rules.check(p, f, imported); why != "" {
					out = append(out, fmt.Sprintf("%s: %s imports %s: %s", p.path, f.name, imported, why))
				}
			}
			if f.inits > 0 {
				out = append(out, fmt.Sprintf("%s: %s has an init function: list things where they are used", p.path, f.name))
			}
		}
	}
	return out, nil
}

// rules are the tables of policy.go, by the first word of a row.
type rules struct{ layers, homes map[string][]string }

func parseTable(text string) map[string][]string {
	out := map[string][]string{}
	for line := range strings.Lines(text) {
		if key, values, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			out[key] = strings.Fields(strings.ReplaceAll(values, "base", base))
		}
	}
	return out
}

// check returns why a file may not import something, or "".
func (r rules) check(p pkg, f file, imported string) string {
	ours, isOurs := strings.CutPrefix(imported, module+"/")
	switch {
	case isOurs:
		return r.checkLayer(p, f, ours)
	case imported == "C":
		return "the binary is static and has no C in it"
	case strings.Contains(strings.Split(imported, "/")[0], "."):
		return r.checkHome(p, f, imported)
	default:
		return "" // the standard library
	}
}

// checkLayer holds an import of ours against the layers. Tests may import whatever helps them.
func (r rules) checkLayer(p pkg, f file, imported string) string {
	if f.test {
		return ""
	}
	if isTestKit(imported) && !isTestKit(p.path) {
		return "it is for tests"
	}
	row, ok := nearest(p.path, r.layers)
	if !ok {
		return "the package has no row in the layers of policy.go"
	}
	if within(imported, row) {
		return ""
	}
	for _, allowed := range r.layers[row] {
		if allowed == "*" || within(imported, allowed) {
			return ""
		}
	}
	return fmt.Sprintf("%s may import only: %s", row, orNothing(r.layers[row]))
}

// checkHome holds an import of a dependency against the homes.
func (r rules) checkHome(p pkg, f file, imported string) string {
	row, ok := nearestRow(imported, r.homes)
	if !ok {
		return "the dependency has no row in the homes of policy.go"
	}
	if f.test {
		return ""
	}
	if slices.ContainsFunc(strings.Fields(standardOnly), func(s string) bool { return within(p.path, s) }) {
		return "the package imports only the standard library"
	}
	for _, home := range r.homes[row] {
		if home == "*" || home == "metrics" && p.has("metrics.go") || within(p.path, home) {
			return ""
		}
	}
	return fmt.Sprintf("%s is at home only in: %s", row, orNothing(r.homes[row]))
}

func orNothing(words []string) string {
	if len(words) == 0 {
		return "nothing"
	}
	return strings.Join(words, " ")
}

// isTestKit reports whether a package is there for the tests of others: its name ends in "test", as httptest's does.
func isTestKit(p string) bool { return strings.HasSuffix(path.Base(p), "test") }

// within reports whether p is folder, or below it.
func within(p, folder string) bool { return p == folder || strings.HasPrefix(p, folder+"/") }

// nearest returns the nearest folder at or above p that has a row.
func nearest(p string, table map[string][]string) (string, bool) {
	for ; p != "." && p != "/"; p = path.Dir(p) {
		if _, ok := table[p]; ok {
			return p, true
		}
	}
	return "", false
}

// nearestRow is nearest for rows that say with "/..." whether they are also about what is below.
func nearestRow(p string, table map[string][]string) (string, bool) {
	if _, ok := table[p]; ok {
		return p, true
	}
	for ; p != "." && p != "/"; p = path.Dir(p) {
		if _, ok := table[p+"/..."]; ok {
			return p + "/...", true
		}
	}
	return "", false
}

// checkComment demands exactly one package comment that says something. A licence above the package clause is none.
func checkComment(p pkg) []string {
	files := slices.DeleteFunc(slices.Clone(p.files), func(f file) bool { return f.test })
	if len(files) == 0 { // a folder of tests only
		files = p.files
	}
	var where []string
	var text, name string
	for _, f := range files {
		if f.comment != "" {
			where, text, name = append(where, f.name), f.comment, f.pkg
		}
	}
	switch {
	case len(where) == 0:
		return []string{p.path + ": no package comment"}
	case len(where) > 1:
		return []string{fmt.Sprintf("%s: more than one package comment: %s", p.path, strings.Join(where, " "))}
	}
	opening := "Package " + name + " "
	if name == "main" {
		opening = "Command " + path.Base(p.path) + " "
	}
	if !strings.HasPrefix(text, opening) {
		return []string{fmt.Sprintf("%s: the package comment in %s does not begin with %q", p.path, where[0], opening)}
	}
	if len(text) < minComment {
		return []string{fmt.Sprintf("%s: the package comment in %s says too little: what it is, what it trusts, where to start reading", p.path, where[0])}
	}
	return nil
}
