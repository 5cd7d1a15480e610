package line

import (
	"testing"
	"time"
)

func TestParseAnswer(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]Answer{
		`10.77.0.12 1048576 206 1795840771.796 "OK" "bytes=2097152-3145727"`: {"10.77.0.12", 2 << 20, 1 << 20, time.UnixMilli(1795840771796), true},
		`10.77.0.12 700 206 1795840771.796 "" "bytes=5-"`:                    {"10.77.0.12", 5, 700, time.UnixMilli(1795840771796), false},
		`10.77.0.12 0 200 1795840771.796 "OK" "-"`:                           {"10.77.0.12", 0, 0, time.UnixMilli(1795840771796), true},
	} {
		if got, err := parseAnswer(line); err != nil || got != want {
			t.Errorf("%s: %+v, %v", line, got, err)
		}
	}
	for _, line := range []string{"", "a b c", `a x 206 1.0 "OK" "-"`, `a 1 206 x "OK" "-"`, `a 1 206 1.0 "OK" "bytes=x-"`} {
		if got, err := parseAnswer(line); err == nil {
			t.Errorf("%q was taken as %+v", line, got)
		}
	}
}
