package loop

import "testing"

func TestParseAccess(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]Access{
		"206 1048576 OK /a b.bin": {"a b.bin", 206, 1 << 20, true},
		"200 77  /a":              {"a", 200, 77, false},
		"nothing":                 {},
	} {
		if got := parseAccess(line); got != want {
			t.Errorf("%q: %+v, want %+v", line, got, want)
		}
	}
}
