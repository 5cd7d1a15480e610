package window

import (
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
)

func TestOpen(t *testing.T) {
	t.Parallel()
	for text, open := range map[string]map[string]bool{
		"":                         {"00:00": true, "12:00": true},
		"22:00-06:00":              {"21:59": false, "22:00": true, "23:59": true, "00:00": true, "05:59": true, "06:00": false, "12:00": false},
		"12:00-13:00":              {"11:59": false, "12:00": true, "12:59": true, "13:00": false},
		"12:00-13:00,22:00-24:00":  {"12:30": true, "21:00": false, "23:59": true, "00:00": false},
		"00:00-24:00":              {"00:00": true, "23:59": true},
		"23:00-00:00":              {"22:59": false, "23:30": true, "00:00": false},
		"01:00-02:00, 03:00-04:00": {"02:30": false, "03:30": true},
	} {
		d, err := Parse(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		for at, want := range open {
			when, err := time.Parse("15:04", at)
			if err != nil {
				t.Fatal(err)
			}
			for _, zone := range []*time.Location{time.UTC, time.FixedZone("east", 5*3600+1800)} {
				when := time.Date(2026, 3, 29, when.Hour(), when.Minute(), 59, 0, zone)
				if got := d.Open(when); got != want {
					t.Errorf("%q at %v: %v", text, when, got)
				}
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"22", "22:00", "22:00-", "-06:00", "22:00-22:00", "24:00-06:00", "22:00-24:01", "22:60-23:00", "2:00-3:00", "+2:00-03:00",
		"22:00-06:00,", "a:00-b:00", "22.00-06.00", strings.Repeat("01:00-02:00,", MaxSpans) + "01:00-02:00",
	} {
		if d, err := Parse(text); !fault.Is(err, fault.Usage) || d.spans != nil {
			t.Errorf("%q: %v, %v", text, d, err)
		}
	}
}
