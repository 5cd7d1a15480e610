package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestCommandLine(t *testing.T) {
	t.Parallel()
	out := func(args ...string) (string, error) {
		var b bytes.Buffer
		err := run(args, &b)
		return b.String(), err
	}
	s, err := out("-run", "^(cold|warm)-2$")
	if lines := strings.Split(strings.TrimSpace(s), "\n"); err != nil || len(lines) != 4 || !strings.HasPrefix(lines[2], "warm-2 ") || !strings.HasPrefix(lines[3], "2 scenarios in ") {
		t.Errorf("%v\n%s", err, s)
	}
	s, err = out("-run", "^cold-2$", "-json", "-seeds", "2")
	var r struct {
		Scenario string
		Sites    []struct{ Copies float64 }
	}
	if json.Unmarshal([]byte(s), &r) != nil || err != nil || r.Scenario != "cold-2" || len(r.Sites) != 2 || r.Sites[0].Copies < 1 {
		t.Errorf("%v\n%s", err, s)
	}
	s, err = out("-run", "^cold-2$", "-trace")
	if err != nil || strings.Count(s, " stored ") != 128 {
		t.Errorf("%v\n%d pieces were stored", err, strings.Count(s, " stored "))
	}
	s, err = out("-list")
	if err != nil || !strings.Contains(s, "sites-100x100\n") {
		t.Errorf("%v\n%s", err, s)
	}
	for _, args := range [][]string{{"-run", "("}, {"-nonsense"}, {"-run", "^none$"}} {
		if _, err := out(args...); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}
