package httpfallback

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Bounds of what a server may ask us to wait.
const (
	minRetryAfter = time.Second
	maxRetryAfter = time.Minute
)

// parseContentRange takes exactly `bytes FIRST-LAST/TOTAL` (RFC 9110, 14.4) with FIRST <= LAST < TOTAL. An unknown
// total (`*`) is refused: we know how long the content is and want to hear it.
func parseContentRange(s string) (first, last, total int64, err error) {
	bad := fmt.Errorf("content range %.60q is not bytes FIRST-LAST/TOTAL", s)
	rest, ok := strings.CutPrefix(s, "bytes ")
	if !ok {
		return 0, 0, 0, bad
	}
	span, of, ok := strings.Cut(rest, "/")
	if !ok {
		return 0, 0, 0, bad
	}
	from, to, ok := strings.Cut(span, "-")
	if !ok {
		return 0, 0, 0, bad
	}
	for _, f := range []struct {
		text string
		to   *int64
	}{{from, &first}, {to, &last}, {of, &total}} {
		if *f.to, ok = parseDecimal(f.text); !ok {
			return 0, 0, 0, bad
		}
	}
	if first > last || last >= total {
		return 0, 0, 0, bad
	}
	return first, last, total, nil
}

// parseDecimal takes one to eighteen digits and nothing else.
func parseDecimal(s string) (int64, bool) {
	if len(s) == 0 || len(s) > 18 {
		return 0, false
	}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// parseRetryAfter reads seconds or a date (RFC 9110, 10.2.3) and holds it within minRetryAfter and maxRetryAfter. What
// cannot be read is 0: the usual back-off.
func parseRetryAfter(s string, now time.Time) time.Duration {
	if s == "" {
		return 0
	}
	if allDigits(s) {
		seconds, ok := parseDecimal(s)
		if !ok || seconds > int64(maxRetryAfter/time.Second) {
			return maxRetryAfter
		}
		return max(minRetryAfter, time.Duration(seconds)*time.Second)
	}
	at, err := http.ParseTime(s)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), minRetryAfter), maxRetryAfter)
}

func allDigits(s string) bool {
	return strings.IndexFunc(s, func(c rune) bool { return c < '0' || c > '9' }) < 0
}

// checkRange says whether resp is bytes first to end-1 of content of the given length, and nothing else.
func checkRange(resp *http.Response, first, end, length int64) error {
	if c := resp.Header.Get("Content-Encoding"); c != "" && c != "identity" {
		return fmt.Errorf("the body is %.20q encoded, which nobody asked for", c)
	}
	switch {
	case resp.StatusCode == http.StatusOK:
		// The server ignores ranges, or has ended with a whole other thing: an error page, a portal's log-in.
		if resp.ContentLength != length {
			return fmt.Errorf("status 200 with %s instead of bytes %d-%d of %d", bodyLength(resp), first, end-1, length)
		}
		if first != 0 || end != length {
			return errNoRanges
		}
		return nil
	case resp.StatusCode != http.StatusPartialContent:
		return &statusError{resp.StatusCode}
	}
	if n := len(resp.Header.Values("Content-Range")); n != 1 {
		return fmt.Errorf("status 206 with %d Content-Range headers", n)
	}
	f, l, total, err := parseContentRange(resp.Header.Get("Content-Range"))
	switch {
	case err != nil:
		return err
	case total != length:
		return fmt.Errorf("the file there is %d bytes long, the content %d", total, length)
	case f != first || l != end-1:
		return fmt.Errorf("asked for bytes %d-%d, got %d-%d", first, end-1, f, l)
	case resp.ContentLength >= 0 && resp.ContentLength != end-first:
		return fmt.Errorf("content range of %d bytes, but content length %d", end-first, resp.ContentLength)
	}
	return nil
}

// errNoRanges is the error of a server that answers a range with the whole file.
var errNoRanges = errors.New("the server does not serve ranges")

func bodyLength(resp *http.Response) string {
	if resp.ContentLength < 0 {
		return "a body of unknown length"
	}
	return fmt.Sprintf("a body of %d bytes", resp.ContentLength)
}

// statusError is an answer that is neither 200 nor 206.
type statusError struct{ status int }

func (e *statusError) Error() string {
	return fmt.Sprintf("status %d %s", e.status, http.StatusText(e.status))
}
