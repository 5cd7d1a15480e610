package page

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"path"
	"strings"
)

//go:embed templates/*.html static/*
var embedded embed.FS

const staticPath = "/static/"

// assets are the templates and the files beside them. A file is served under a name with its hash, so that a browser may
// keep it for ever and never has an old one.
type assets struct {
	templates *template.Template
	paths     map[string]string // by the name of the file
	files     map[string]asset  // by the path in the URL
}

type asset struct {
	body        []byte
	contentType string
}

func loadAssets() (*assets, error) {
	t, err := template.New("").Funcs(functions()).ParseFS(embedded, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("load the page: %w", err)
	}
	a := &assets{templates: t, paths: make(map[string]string), files: make(map[string]asset)}
	entries, err := fs.ReadDir(embedded, "static")
	if err != nil {
		return nil, fmt.Errorf("load the page: %w", err)
	}
	for _, e := range entries {
		b, err := fs.ReadFile(embedded, path.Join("static", e.Name()))
		if err != nil {
			return nil, fmt.Errorf("load the page: %w", err)
		}
		sum := sha256.Sum256(b)
		ext := path.Ext(e.Name())
		p := staticPath + strings.TrimSuffix(e.Name(), ext) + "-" + hex.EncodeToString(sum[:8]) + ext
		a.paths[e.Name()] = p
		a.files[p] = asset{b, typeOf(ext)}
	}
	return a, nil
}

// path returns where a file is served; "" when there is none, which a test would find.
func (a *assets) path(name string) string { return a.paths[name] }

// typeOf does not ask the system, whose tables differ.
func typeOf(ext string) string {
	switch ext {
	case ".css":
		return "text/css; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	default:
		return "application/octet-stream"
	}
}
