package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// pkg is one folder with Go files.
type pkg struct {
	path  string // inside the module, "." for its root
	files []file
}

// file is what the rules need of a Go file, whatever its build constraints say.
type file struct {
	name    string
	test    bool
	imports []string
	comment string // above the package clause
	pkg     string // the name in the package clause
	inits   int
}

// readTree parses the Go files of a module. Folders that the go command does not look into are left out.
func readTree(module fs.FS) ([]pkg, error) {
	folders := map[string][]file{}
	err := fs.WalkDir(module, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skip(d.Name())
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		f, err := readFile(module, name)
		if err != nil {
			return err
		}
		folders[path.Dir(name)] = append(folders[path.Dir(name)], f)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read source tree: %w", err)
	}
	var out []pkg
	for p, files := range folders {
		out = append(out, pkg{p, files})
	}
	slices.SortFunc(out, func(a, b pkg) int { return strings.Compare(a.path, b.path) })
	return out, nil
}

func skip(folder string) error {
	if folder == "testdata" || folder == "vendor" || folder != "." && strings.HasPrefix(folder, ".") || strings.HasPrefix(folder, "_") {
		return fs.SkipDir
	}
	return nil
}

func readFile(module fs.FS, name string) (file, error) {
	src, err := fs.ReadFile(module, name)
	if err != nil {
		return file{}, err
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return file{}, err
	}
	f := file{name: path.Base(name), test: strings.HasSuffix(name, "_test.go"), pkg: parsed.Name.Name, comment: parsed.Doc.Text()}
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return file{}, err
		}
		f.imports = append(f.imports, imported)
	}
	for _, d := range parsed.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			f.inits++
		}
	}
	return f, nil
}

func (p pkg) has(name string) bool {
	return slices.ContainsFunc(p.files, func(f file) bool { return f.name == name })
}
