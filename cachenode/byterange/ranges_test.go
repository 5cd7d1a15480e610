package byterange

import (
	"testing"
)

// FuzzParse: whatever is asked, what is served lies inside, does not overlap and is of a bounded number.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"bytes=0-", "bytes=-5", "bytes=1-2,4-5,-1", "bytes=9223372036854775807-", "bytes=0-0,0-0", "lines=1", "=", "bytes=-"} {
		f.Add(s, int64(100))
	}
	f.Fuzz(func(t *testing.T, header string, size int64) {
		if size < 1 {
			return
		}
		spans, err := Parse([]string{header}, size)
		if err != nil && spans != nil || len(spans) > MaxRanges {
			t.Fatalf("%d spans, %v", len(spans), err)
		}
		var sum int64
		for _, s := range spans {
			if s.First < 0 || s.Length < 1 || s.First > size-s.Length {
				t.Errorf("%+v is not inside of %d", s, size)
			}
			sum += s.Length
		}
		if sum > size || sum < 0 {
			t.Errorf("%d bytes of %d", sum, size)
		}
	})
}
