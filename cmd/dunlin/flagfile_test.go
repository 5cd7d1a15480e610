package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"
)

// TestTheCacheExample: deploy/cache.yaml sets nothing as it is, and has every key, with its default, once its comments are taken
// away.
func TestTheCacheExample(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join("..", "..", "deploy", "cache.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	f := flagFile{flags: cacheSettingsFlags()}
	if got, err := f.parse(b); err != nil || len(got) != 0 {
		t.Errorf("as it is: %+v %v", got, err)
	}
	var plain strings.Builder
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "#"); ok && !strings.HasPrefix(line, "# ") {
			line = rest
		}
		plain.WriteString(line)
	}
	got, err := f.parse([]byte(plain.String()))
	if err != nil {
		t.Fatal(err)
	}
	said := make(map[string][]string)
	for _, v := range got {
		said[keyOf(v.flag)] = v.texts
	}
	for _, flag := range f.flags {
		key := keyOf(flag)
		if len(said[key]) == 0 {
			t.Errorf("deploy/cache.yaml does not explain %s", key)
			continue
		}
		switch flag := flag.(type) {
		case *cli.StringFlag:
			if flag.Value != "" && said[key][0] != flag.Value {
				t.Errorf("%s: %s, the default is %s", key, said[key][0], flag.Value)
			}
		case *cli.DurationFlag:
			if d, err := time.ParseDuration(said[key][0]); err != nil || d != flag.Value {
				t.Errorf("%s: %s, the default is %v", key, said[key][0], flag.Value)
			}
		}
	}
}

// TestFlagFileIsStrict: what is wrong is said with line and column.
func TestFlagFileIsStrict(t *testing.T) {
	t.Parallel()
	f := flagFile{flags: []cli.Flag{&cli.StringFlag{Name: "a-b"}, &cli.StringSliceFlag{Name: "c"}, &cli.BoolFlag{Name: "d"}}}
	for text, want := range map[string]string{
		"x: 1\n":                      `1:1: unknown key "x"`,
		"a-b: 1\n":                    `1:1: unknown key "a-b"`,
		"a_b: 1\nc: [1]\n":            `2:1: unknown key "c"`,
		"a_b: [1]\n":                  `1:6: a_b is a list`,
		"cs: 1\n":                     `1:5: cs is a list`,
		"a_b: {x: 1}\n":               `1:`,
		"cs: [[1]]\n":                 `1:6: it is not one value`,
		"a_b:\n":                      `1:`,
		"a_b: 1\na_b: 2\n":            `2:1:`,
		"- a\n":                       `1:1: it is no list of keys`,
		"a_b: 1\n---\na_b: 2\n":       `more than one document`,
		"a_b: 'x\n":                   `1:`,
		"a_b: &x 1\nd: *x\n":          `1:`,
		strings.Repeat("[", 500) + "": `1:`,
	} {
		if got, err := f.parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.40q: %+v, %v; want %q", text, got, err, want)
		}
	}
	got, err := f.parse([]byte("# all\na_b: 1.50 # as it stands\ncs: [x, \"y z\"]\nd: true\n"))
	if err != nil || len(got) != 3 || got[0].texts[0] != "1.50" || strings.Join(got[1].texts, "|") != "x|y z" || got[2].texts[0] != "true" {
		t.Errorf("%+v %v", got, err)
	}
	for _, text := range []string{"", "# nothing\n", "---\n"} {
		if got, err := f.parse([]byte(text)); err != nil || len(got) != 0 {
			t.Errorf("%q: %+v %v", text, got, err)
		}
	}
}
