package archtest

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// TestTheHouseIsAsPlanned is the rule itself. What it names is to be mended there, not here.
func TestTheHouseIsAsPlanned(t *testing.T) {
	t.Parallel()
	wrong, err := Check(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range wrong {
		t.Error(w)
	}
}

// TestEveryRowIsRead guards the tables themselves: a row that names nothing known is a slip of the pen.
func TestEveryRowIsRead(t *testing.T) {
	t.Parallel()
	rows := parseTable(layers)
	for p, allowed := range rows {
		for _, a := range allowed {
			if _, ok := rows[a]; !ok && a != "*" {
				t.Errorf("%s may import %s, which has no row", p, a)
			}
		}
	}
	for dep, where := range parseTable(homes) {
		for _, home := range where {
			if _, ok := nearest(home, rows); !ok && !slices.Contains([]string{"*", "tests", "metrics"}, home) {
				t.Errorf("%s is at home in %s, which has no row", dep, home)
			}
		}
	}
}

// comment is long enough for any package.
const comment = "is here to be long enough, and says what it is, what it trusts, and where to start reading: nowhere, since it is only planted."

// plant is a module with one good package and the given files.
func plant(files map[string]string) fstest.MapFS {
	out := fstest.MapFS{"piecehash/doc.go": {Data: []byte("// Package piecehash " + comment + "\npackage piecehash\n")}}
	for name, src := range files {
		out[name] = &fstest.MapFile{Data: []byte(src)}
	}
	return out
}

// source is a package that imports things of ours ("ours/...") and others.
func source(name string, imports ...string) string {
	var b strings.Builder
	b.WriteString("// Package " + name + " " + comment + "\npackage " + name + "\n")
	for _, i := range imports {
		b.WriteString("import _ \"" + strings.Replace(i, "ours/", module+"/", 1) + "\"\n")
	}
	return b.String()
}

func TestPlantedTrees(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string
		want  string // a part of the only complaint; "" for none
	}{
		"good": {map[string]string{
			"store/s.go":             source("store", "fmt", "ours/piecehash", "ours/internal/durable", "golang.org/x/sys/unix"),
			"metadata/tuf/t.go":      source("tuf", "ours/metadata", "github.com/theupdateframework/go-tuf/v2/metadata"),
			"cmd/dunlin/m.go":        strings.Replace(source("main", "ours/agent", "github.com/urfave/cli/v2"), "Package main", "Command dunlin", 1),
			"agent/metrics.go":       source("agent", "ours/metadata/tuf", "github.com/prometheus/client_golang/prometheus"),
			"fetch/fetchtest/f.go":   source("fetchtest", "ours/fetch", "ours/store"),
			"fetch/doc.go":           source("fetch"),
			"fetch/f_test.go":        "package fetch\nimport _ \"" + module + "/fetch/fetchtest\"\n",
			"store/s_test.go":        "package store_test\nimport _ \"" + module + "/agent\"\n",
			"piecehash/bencode/b.go": source("bencode", "strconv"),
			"piecehash/piece.go":     "package piecehash\nimport _ \"" + module + "/piecehash/bencode\"\n",
			"e2e/lab/l_test.go":      source("lab", "ours/agent", "ours/swarm"),
			"testdata/bad.go":        "no Go at all",
			".git/bad.go":            "no Go at all",
		}, ""},
		"upwards":              {map[string]string{"store/s.go": source("store", "ours/fetch")}, "store: s.go imports " + module + "/fetch: store may import only"},
		"across":               {map[string]string{"agent/a.go": source("agent", "ours/swarm")}, "agent may import only"},
		"from below":           {map[string]string{"metadata/tuf/t.go": source("tuf", "ours/store")}, "metadata may import only"},
		"internal upwards":     {map[string]string{"internal/durable/d.go": source("durable", "ours/store")}, "internal/durable may import only"},
		"the demo":             {map[string]string{"agent/a.go": source("agent", "ours/internal/demo")}, "agent may import only"},
		"like a prefix":        {map[string]string{"store/s.go": source("store", "ours/piecehashes")}, "store may import only"},
		"no row":               {map[string]string{"util/u.go": source("util", "ours/store")}, "has no row in the layers"},
		"test kit":             {map[string]string{"cmd/dunlin/c.go": strings.Replace(source("main", "ours/fetch/fetchtest"), "Package main", "Command dunlin", 1)}, "it is for tests"},
		"piecehash needs us":   {map[string]string{"piecehash/p.go": "package piecehash\nimport _ \"" + module + "/internal/fault\"\n"}, "piecehash may import only: nothing"},
		"piecehash needs more": {map[string]string{"piecehash/p.go": "package piecehash\nimport _ \"golang.org/x/sys/cpu\"\n"}, "only the standard library"},
		"stray dependency":     {map[string]string{"fetch/f.go": source("fetch", "github.com/libp2p/go-libp2p/core/peer")}, "github.com/libp2p/... is at home only in: swarm"},
		"new dependency":       {map[string]string{"fetch/f.go": source("fetch", "example.org/new")}, "has no row in the homes"},
		"new in a test":        {map[string]string{"store/s_test.go": source("store", "example.org/new")}, "has no row in the homes"},
		"banned part":          {map[string]string{"metadata/m.go": source("metadata", "github.com/theupdateframework/go-tuf/v2/metadata/updater")}, "at home only in: nothing"},
		"banned below a home":  {map[string]string{"swarm/s.go": source("swarm", "github.com/libp2p/go-libp2p/p2p/discovery/mdns")}, "at home only in: nothing"},
		"metrics astray":       {map[string]string{"fetch/f.go": source("fetch", "github.com/prometheus/client_golang/prometheus")}, "at home only in: metrics"},
		"only for tests":       {map[string]string{"store/s.go": source("store", "github.com/rogpeppe/go-internal/txtar")}, "at home only in: tests"},
		"C":                    {map[string]string{"store/s.go": source("store", "C")}, "no C in it"},
		"other system":         {map[string]string{"store/s_windows.go": "//go:build windows\n\n" + source("store", "ours/agent")}, "store may import only"},
		"no comment":           {map[string]string{"store/s.go": "package store\n"}, "store: no package comment"},
		"licence":              {map[string]string{"store/s.go": "// Copyright 2026 somebody. All rights reserved, and so on, and so on, until it is long enough to be a comment that says something to someone.\npackage store\n"}, "does not begin with \"Package store \""},
		"two comments":         {map[string]string{"store/s.go": source("store"), "store/t.go": source("store")}, "more than one package comment: s.go t.go"},
		"short comment":        {map[string]string{"store/s.go": "// Package store stores.\npackage store\n"}, "says too little"},
		"wrong name":           {map[string]string{"store/s.go": strings.Replace(source("store"), "Package store", "Package shop", 1)}, "does not begin with"},
		"tests only":           {map[string]string{"e2e/x/x_test.go": "package x_test\n"}, "e2e/x: no package comment"},
		"init":                 {map[string]string{"store/s.go": source("store") + "func init() {}\n"}, "has an init function"},
	} {
		got, err := Check(plant(c.files))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestBrokenSourceIsAnError(t *testing.T) {
	t.Parallel()
	for name, src := range map[string]string{"no Go": "hello", "no package": "", "cut": "package x\nimport \"fmt"} {
		if _, err := Check(plant(map[string]string{"store/s.go": src})); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
