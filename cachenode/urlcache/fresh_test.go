package urlcache

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/internal/fault"
)

// direct is a door to an origin without a network between, so that it works in virtual time.
type direct struct {
	origin http.Handler
	down   atomic.Bool
}

func (d *direct) Ask(ctx context.Context, ask httpfallback.Ask) (*httpfallback.Reply, error) {
	if d.down.Load() {
		return nil, fault.New(fault.Unavailable, "the line is cut")
	}
	r := httptest.NewRequestWithContext(ctx, ask.Method, ask.URL, nil)
	if err := ask.Allow(r.URL); err != nil {
		return nil, err
	}
	r.Header = ask.Header.Clone()
	rec := httptest.NewRecorder()
	rec.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	d.origin.ServeHTTP(rec, r)
	resp := rec.Result()
	return httpfallback.NewReply(resp.StatusCode, resp.Header, resp.ContentLength, resp.Body), nil
}

// still is a cache in virtual time. Requests are calls.
type still struct {
	t      *testing.T
	origin *origin
	door   *direct
	cache  *Cache
}

// inVirtualTime runs a test with a cache of its own.
func inVirtualTime(t *testing.T, b []byte, test func(s *still)) {
	dir := filepath.Join(t.TempDir(), "urls")
	synctest.Test(t, func(t *testing.T) {
		s := &still{t: t, origin: newOrigin(b)}
		s.door = &direct{origin: s.origin}
		c, err := New(Config{Dir: dir, Allow: origins(t, "cdn.example.com"), Door: s.door, Size: MinSize})
		if err != nil {
			t.Fatal(err)
		}
		c.setSlice(testSlice)
		s.cache = c
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- c.Run(ctx) }()
		synctest.Wait()
		test(s)
		cancel()
		<-ended
	})
}

func (s *still) get(header ...string) *http.Response {
	s.t.Helper()
	r := httptest.NewRequest("GET", "/f?cacheHostOrigin=cdn.example.com", nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	s.cache.ServeHTTP(rec, r)
	synctest.Wait() // also what is fetched beyond the answer
	return rec.Result()
}

// conditional returns how many requests the origin has had, and how many of them with a condition.
func (s *still) conditional() (all, with int) {
	for _, r := range s.origin.requests() {
		if all++; r.Header.Get("If-None-Match")+r.Header.Get("If-Modified-Since") != "" {
			with++
		}
	}
	return all, with
}

// TestFreshness: nothing is asked while an answer is fresh; then the origin is asked once whether it has changed, and no byte is
// fetched when it has not.
func TestFreshness(t *testing.T) {
	t.Parallel()
	for name, validator := range map[string][]string{"tag": nil, "date": {"Etag", "", "Last-Modified", "Fri, 01 Jan 1999 00:00:00 GMT"}} {
		t.Run(name, func(t *testing.T) {
			b := data(50, 9*testSlice)
			inVirtualTime(t, b, func(s *still) {
				s.origin.change(b, append(validator, "Cache-Control", "max-age=60")...)
				wants(t, "cold", s.get(), 200, b)
				all, _ := s.conditional()
				time.Sleep(59 * time.Second)
				resp := s.get()
				if age := resp.Header.Get("Age"); age != "59" {
					t.Errorf("Age %q after 59 s", age)
				}
				wants(t, "fresh", resp, 200, b)
				if got, _ := s.conditional(); got != all {
					t.Errorf("%d requests, %d before", got, all)
				}
				time.Sleep(2 * time.Second)
				resp = s.get()
				if age := resp.Header.Get("Age"); age != "0" {
					t.Errorf("Age %q after the origin was asked", age)
				}
				wants(t, "revalidated", resp, 200, b)
				if got, with := s.conditional(); got != all+1 || with != 1 {
					t.Errorf("%d requests, %d of them with a condition; want %d and 1", got, with, all+1)
				}
				wants(t, "fresh again", s.get(), 200, b)
				wants(t, "asked for", s.get("Cache-Control", "no-cache"), 200, b)
				if got, with := s.conditional(); got != all+2 || with != 2 {
					t.Errorf("%d requests, %d of them with a condition; want %d and 2", got, with, all+2)
				}
			})
		})
	}
}

// TestAChangeIsSeen when the origin is asked, and what was kept of the old file is deleted.
func TestAChangeIsSeen(t *testing.T) {
	t.Parallel()
	old, young := data(51, 9*testSlice), data(52, 7*testSlice)
	inVirtualTime(t, old, func(s *still) {
		s.origin.change(old, "Cache-Control", "max-age=60")
		wants(t, "old", s.get(), 200, old)
		s.origin.change(young, "Etag", `"two"`)
		wants(t, "still fresh", s.get(), 200, old)
		time.Sleep(time.Hour)
		wants(t, "new", s.get(), 200, young)
		if s.cache.Bytes() != int64(len(young)) {
			t.Errorf("%d bytes are kept, the new file has %d", s.cache.Bytes(), len(young))
		}
		if files, _ := filepath.Glob(filepath.Join(s.cache.cfg.Dir, "*", "*")); len(files) != 3 {
			t.Errorf("the folder has %v", files)
		}
	})
}

// TestStale: what is kept is served while the origin is away, with a word about it, unless the origin has forbidden that, and not
// for ever.
func TestStale(t *testing.T) {
	t.Parallel()
	b := data(53, 3*testSlice)
	inVirtualTime(t, b, func(s *still) {
		s.origin.change(b, "Cache-Control", "max-age=60")
		wants(t, "cold", s.get(), 200, b)
		time.Sleep(time.Hour)
		s.door.down.Store(true)
		for range 2 {
			resp := s.get()
			if resp.Header.Get("Warning") == "" || resp.Header.Get("Age") != "3600" {
				t.Errorf("stale: %v", resp.Header)
			}
			wants(t, "stale", resp, 200, b)
		}
		s.origin.set(func(w http.ResponseWriter, _ *http.Request, _ int) { w.WriteHeader(503) })
		s.door.down.Store(false)
		time.Sleep(time.Minute)
		wants(t, "stale on 503", s.get(), 200, b)
		time.Sleep(8 * 24 * time.Hour)
		if resp := s.get(); resp.StatusCode != 502 {
			t.Errorf("after a week: status %d", resp.StatusCode)
		}
	})
	for _, control := range []string{"max-age=60, must-revalidate", "max-age=60, proxy-revalidate", "s-maxage=60", "no-cache", "max-age=60, stale-if-error=5"} {
		inVirtualTime(t, b, func(s *still) {
			s.origin.change(b, "Cache-Control", control)
			wants(t, control, s.get(), 200, b)
			time.Sleep(2 * time.Minute)
			s.door.down.Store(true)
			if resp := s.get(); resp.StatusCode != 502 || strings.Contains(resp.Header.Get("Content-Type"), "octet") {
				t.Errorf("%s: status %d when the origin is away", control, resp.StatusCode)
			}
			s.door.down.Store(false)
			time.Sleep(time.Minute)
			wants(t, control+", back", s.get(), 200, b)
		})
	}
}

// TestFailureIsNotAskedForAgain at once, and the origin is asked when its time has come.
func TestFailureIsNotAskedForAgain(t *testing.T) {
	t.Parallel()
	b := data(54, testSlice)
	inVirtualTime(t, b, func(s *still) {
		s.origin.set(func(w http.ResponseWriter, _ *http.Request, _ int) { w.WriteHeader(404) })
		for range 5 {
			if resp := s.get(); resp.StatusCode != 404 {
				t.Errorf("status %d", resp.StatusCode)
			}
		}
		if n, _ := s.conditional(); n != 1 {
			t.Errorf("%d requests", n)
		}
		s.origin.set(nil)
		time.Sleep(retryAfter + time.Second)
		wants(t, "there", s.get(), 200, b)
	})
}

// TestGone: a file that the origin has no more is served no more.
func TestGone(t *testing.T) {
	t.Parallel()
	b := data(55, testSlice)
	inVirtualTime(t, b, func(s *still) {
		wants(t, "there", s.get(), 200, b)
		s.origin.set(func(w http.ResponseWriter, _ *http.Request, _ int) { w.WriteHeader(410) })
		time.Sleep(2 * time.Hour)
		if resp := s.get(); resp.StatusCode != 410 || s.cache.Bytes() != 0 {
			t.Errorf("status %d, %d bytes kept", resp.StatusCode, s.cache.Bytes())
		}
	})
}

func TestTerms(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for name, c := range map[string]struct {
		header   []string
		lifetime time.Duration
		age      time.Duration
		stale    bool
	}{
		"nothing":          {nil, 0, 0, true},
		"max-age":          {[]string{"Cache-Control", "max-age=60"}, time.Minute, 0, true},
		"shared":           {[]string{"Cache-Control", "max-age=60, s-maxage=10"}, 10 * time.Second, 0, false},
		"two":              {[]string{"Cache-Control", "max-age=60", "Cache-Control", "max-age=30"}, 30 * time.Second, 0, true},
		"junk":             {[]string{"Cache-Control", "max-age=-1"}, 0, 0, true},
		"quoted":           {[]string{"Cache-Control", `x="a, max-age=5", max-age="60"`}, time.Minute, 0, true},
		"endless":          {[]string{"Cache-Control", "max-age=99999999999999999999"}, secondsMost * time.Second, 0, true},
		"expires":          {[]string{"Expires", at(time.Hour)}, time.Hour, 0, true},
		"expires at zero":  {[]string{"Expires", "0"}, 0, 0, true},
		"max-age over it":  {[]string{"Expires", at(time.Hour), "Cache-Control", "max-age=5"}, 5 * time.Second, 0, true},
		"a tenth":          {[]string{"Last-Modified", at(-10 * time.Hour)}, time.Hour, 0, true},
		"a tenth, at most": {[]string{"Last-Modified", at(-9999 * time.Hour)}, heuristicMost, 0, true},
		"age":              {[]string{"Cache-Control", "max-age=60", "Age", "50"}, time.Minute, 51 * time.Second, true},
		"old date":         {[]string{"Cache-Control", "max-age=60", "Date", at(-time.Hour)}, time.Minute, time.Hour, true},
		"first date":       {[]string{"Cache-Control", "max-age=60", "Date", "Mon, 01 Jan 0001 00:00:00 GMT"}, time.Minute, secondsMost * time.Second, true},
		"no error":         {[]string{"Cache-Control", "max-age=60, must-revalidate"}, time.Minute, 0, false},
	} {
		h := make(http.Header)
		h.Set("Date", at(0))
		for i := 0; i < len(c.header); i += 2 {
			if c.header[i] == "Date" {
				h.Del("Date")
			}
			h.Add(c.header[i], c.header[i+1])
		}
		got := termOf(h, now.Add(-time.Second), now)
		want := max(c.age, time.Second) // the time that the answer took
		if got.Lifetime != c.lifetime || got.Age != want || (got.Stale > 0) != c.stale {
			t.Errorf("%s: %+v, want lifetime %v, age %v, stale %v", name, got, c.lifetime, want, c.stale)
		}
		if got.fresh(now.Add(-time.Hour)) != got.fresh(now) {
			t.Errorf("%s: a clock that was put back changes it", name)
		}
	}
}

// TestImmutable is not asked for again, whatever a client says, while it is fresh.
func TestImmutable(t *testing.T) {
	t.Parallel()
	b := data(56, testSlice)
	inVirtualTime(t, b, func(s *still) {
		s.origin.change(b, "Cache-Control", "max-age=600, immutable")
		wants(t, "cold", s.get(), 200, b)
		wants(t, "reloaded", s.get("Cache-Control", "no-cache"), 200, b)
		if n, _ := s.conditional(); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

// TestVary: an answer that depends on a field serves those who do not send it.
func TestVary(t *testing.T) {
	t.Parallel()
	b := data(57, testSlice)
	inVirtualTime(t, b, func(s *still) {
		s.origin.change(b, "Vary", "accept-encoding, X-Channel")
		wants(t, "without", s.get("Accept-Encoding", "gzip"), 200, b)
		wants(t, "without again", s.get(), 200, b)
		n, _ := s.conditional()
		wants(t, "with", s.get("X-Channel", "beta"), 200, b)
		if got, _ := s.conditional(); n != 1 || got != 2 {
			t.Errorf("%d requests, then %d", n, got)
		}
	})
}

// TestPassedFields: what a client says of itself goes on only where the answer is not kept, and a few things never do.
func TestPassedFields(t *testing.T) {
	t.Parallel()
	b := data(58, testSlice)
	inVirtualTime(t, b, func(s *still) {
		fields := []string{"Accept-Language", "de", "X-Forwarded-For", "10.1.1.1", "Forwarded", "for=10.1.1.1", "Connection", "x", "Te", "trailers", "Accept-Encoding", "br"}
		s.get(fields...)
		s.origin.change(b, "Cache-Control", "no-store")
		time.Sleep(2 * time.Hour)
		s.get(fields...)
		for i, r := range s.origin.requests() {
			for _, name := range []string{"X-Forwarded-For", "Forwarded", "Connection", "Te"} {
				if r.Header.Get(name) != "" {
					t.Errorf("request %d has %s", i, name)
				}
			}
		}
		if !slices.ContainsFunc(s.origin.requests(), func(r *http.Request) bool { return r.Header.Get("Accept-Language") == "de" }) {
			t.Error("Accept-Language was not passed on")
		}
		if first := s.origin.requests()[0]; first.Header.Get("Accept-Language") != "" {
			t.Error("what is kept was asked for in somebody's language")
		}
	})
}

var _ io.Reader = (*httpfallback.Reply)(nil)
