package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCacheUnit agrees with the defaults of the code; package agent has systemd read it.
func TestCacheUnit(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join("..", "..", "deploy", "systemd", "dunlin-cache.service"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"StateDirectory=" + strings.TrimPrefix(defaultCacheDir, "/var/lib/") + "\nStateDirectoryMode=0700\n",
		"ExecStart=/usr/bin/dunlin cache run\n",
		"ConditionPathExists=|" + defaultCacheConfig + "\n",
		"ConditionPathExists=|" + defaultCacheDir + "/joined.json\n",
	} {
		if !strings.Contains(string(b), line) {
			t.Errorf("the unit has no line %q", line)
		}
	}
}
