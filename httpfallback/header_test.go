package httpfallback

import (
	"fmt"
	"testing"
	"time"
)

func TestParseContentRange(t *testing.T) {
	t.Parallel()
	good := map[string][3]int64{
		"bytes 0-0/1":                         {0, 0, 1},
		"bytes 5-9/10":                        {5, 9, 10},
		"bytes 0-999999999999/10000000000000": {0, 999999999999, 10000000000000},
	}
	for s, want := range good {
		first, last, total, err := parseContentRange(s)
		if err != nil || [3]int64{first, last, total} != want {
			t.Errorf("%q: %d-%d/%d, %v", s, first, last, total, err)
		}
	}
	for _, s := range []string{
		"", "bytes", "bytes ", "bytes 0-0", "bytes 0-0/", "bytes 0-0/*", "bytes */1", "bytes 1-0/5", "bytes 0-5/5", "bytes -1/5",
		"bytes 0-/5", "bytes +0-1/5", "bytes 0-1/ 5", "bytes  0-1/5", "Bytes 0-1/5", "bytes=0-1/5", "bytes 0-1/5 ", "bytes 0-1/5,6",
		"bytes 0x0-1/5", "bytes 0-1/1000000000000000000000", "bytes ٠-1/5",
	} {
		if _, _, _, err := parseContentRange(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}

func FuzzParseContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-0/1", "bytes 5-9/10", "bytes */1", "bytes 1-0/5", "bytes 0-999999999999999999/999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		first, last, total, err := parseContentRange(s)
		if err != nil {
			return
		}
		if first < 0 || first > last || last >= total {
			t.Errorf("%q: %d-%d/%d", s, first, last, total)
		}
		// What is taken says the same when written again; only leading zeros may differ.
		again := fmt.Sprintf("bytes %d-%d/%d", first, last, total)
		if f, l, n, err := parseContentRange(again); err != nil || f != first || l != last || n != total {
			t.Errorf("%q became %q: %v", s, again, err)
		}
	})
}

func FuzzParseRetryAfter(f *testing.F) {
	for _, s := range []string{"", "0", "5", "-5", "1e9", "99999999999999999999", "Fri, 31 Dec 2399 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:00 GMT"} {
		f.Add(s)
	}
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		if d := parseRetryAfter(s, now); d != 0 && (d < minRetryAfter || d > maxRetryAfter) {
			t.Errorf("%q: %v", s, d)
		}
	})
}
