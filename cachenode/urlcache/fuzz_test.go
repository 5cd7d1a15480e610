package urlcache

import (
	"bytes"
	"crypto/sha256"
	"net/url"
	"strings"
	"testing"
	"time"
)

// FuzzParseTarget: what is taken names one host that both sides understand, and the path stays as it was.
func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{
		"/a?cacheHostOrigin=h.com", "/a%2F?x&cacheHostOrigin=10.0.0.5:80&y", "/?cacheHostOrigin=[fd00::1]", "/a?cacheHostOrigin=h&cachehostorigin=h",
		"/?cacheHostOrigin=127.1", "//a?cacheHostOrigin=h", "/a#b?cacheHostOrigin=h",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		got, err := parseTarget(uri)
		if err != nil {
			return
		}
		u, err := url.Parse(got.url("http"))
		if err != nil || u.RequestURI() != got.path || u.User != nil || u.Fragment != "" {
			t.Fatalf("%q became %q: %v", uri, got.url("http"), err)
		}
		host, port, ok := parseHost(u.Host)
		if !ok || host != got.host || port != got.port && got.port != 80 {
			t.Fatalf("%q: host %q port %d became %q", uri, got.host, got.port, u.Host)
		}
		if path, _, _ := strings.Cut(got.path, "?"); !strings.HasPrefix(uri, path) || strings.Count(uri, param) != 1 {
			t.Fatalf("%q became %q", uri, got.path)
		}
		if _, ok := Canonical(got.url("https")); !ok {
			t.Fatalf("%q has no canonical form", got.url("https"))
		}
	})
}

// FuzzParseOrigin: what is allowed is one host, or names below one of two parts, and never an address in disguise.
func FuzzParseOrigin(f *testing.F) {
	for _, s := range []string{"h.com", "https://*.a.b:8443", "[::1]:80", "127.0.0.1", "*.*", "http://h/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o, err := ParseOrigin(text)
		if err != nil {
			return
		}
		if o.port < 1 || o.port > 65535 || o.scheme != "http" && o.scheme != "https" || strings.ContainsAny(o.host, "/@?#%\\ ") {
			t.Fatalf("%q became %+v", text, o)
		}
		if o.wild && (strings.Count(o.host, ".") < 2 || o.fits("127.0.0.1", o.port) || o.fits(o.host[1:], o.port)) {
			t.Fatalf("%q became %+v", text, o)
		}
	})
}

// FuzzControl: whatever an origin writes, times are bounded and not negative where they are given.
func FuzzControl(f *testing.F) {
	for _, s := range []string{"max-age=60, s-maxage=\"5\"", `private="a, b", no-cache`, "max-age=99999999999999999999", `x="\",max-age=1`, ",,=,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := parseControl([]string{text})
		for _, d := range []time.Duration{c.maxAge, c.sMaxAge, c.staleIfError} {
			if d < -1 || d > secondsMost*time.Second {
				t.Fatalf("%q: %v", text, d)
			}
		}
		if plain := strings.ToLower(text); !strings.ContainsAny(plain, "\"\\") && len(plain) < maxControl {
			for d := range strings.SplitSeq(plain, ",") {
				if strings.Trim(d, " \t") == "no-store" && !c.noStore {
					t.Fatalf("%q: no-store was not seen", text)
				}
			}
		}
	})
}

// FuzzContentRange: what is taken lies inside, and is written in one way.
func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-1/2", "bytes 5-4/9", "bytes 0-0/*", "bytes */5", "bytes 0-18446744073709551615/3", "bytes +1-2/3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		first, last, size, ok := parseContentRange(text)
		if ok && (first < 0 || first > last || last >= size) {
			t.Fatalf("%q: %d-%d/%d", text, first, last, size)
		}
	})
}

// FuzzRecord: what is taken makes sense; what was written is taken.
func FuzzRecord(f *testing.F) {
	good := record{
		Version: recordVersion, URL: "http://h/x", Generation: "0123456789abcdef", Slice: SliceSize, Header: map[string]string{"Date": "x"},
		Is: version{ETag: `"a"`, Size: 5},
	}
	b, err := good.encode()
	if err != nil {
		f.Fatal(err)
	}
	if r, err := parseRecord(b); err != nil || r.URL != good.URL || r.Is != good.Is {
		f.Fatalf("%+v, %v", r, err)
	}
	f.Add(b[bytes.IndexByte(b, '\n')+1:], true)
	f.Add(b, false)
	f.Add([]byte(`{"version":1,"is":{"size":-1}}`), true)
	f.Fuzz(func(t *testing.T, b []byte, sealed bool) {
		if sealed { // with a sum that fits, as of an older or newer program
			sum := sha256.Sum256(b)
			b = append(append([]byte(key(sum).String()), '\n'), b...)
		}
		r, err := parseRecord(b)
		if err != nil {
			return
		}
		if r.Is.Size <= 0 || r.Is.Size > maxSize || r.Slice <= 0 || r.Term.Lifetime < 0 || r.Term.Age < 0 || !isGeneration(r.Generation) {
			t.Fatalf("%+v", r)
		}
	})
}

// FuzzSums: only entries that fit are taken, in a row from the beginning.
func FuzzSums(f *testing.F) {
	const id = "0123456789abcdef"
	e := encodeSum(id, 3, sha256.Sum256(nil))
	f.Add(e, 4)
	f.Add(append(e, encodeSum(id, 9, sha256.Sum256(nil))...), 4)
	f.Add(append(e, e[:20]...), 4)
	f.Add(encodeSum("0000000000000000", 1, sha256.Sum256(nil)), 4)
	f.Fuzz(func(t *testing.T, b []byte, slices int) {
		if slices < 0 || slices > 1<<20 {
			return
		}
		n := 0
		valid := parseSums(id, slices, b, func(i int, s sum) {
			if i < 0 || i >= slices || !bytes.Equal(b[n*sumSize:][:sumSize], encodeSum(id, i, s)) {
				t.Fatalf("entry %d of %d slices", i, slices)
			}
			n++
		})
		if valid != n*sumSize || valid > len(b) {
			t.Fatalf("%d bytes of %d entries", valid, n)
		}
	})
}
