package cachenode

import "fmt"

// boundary divides the parts of a multipart answer. It need not be secret, nor absent from the content: a client that
// understands Content-Length and the parts' Content-Range does not search for it, and 128 bits do not occur by chance.
const boundary = "dunlin-6f0c1b5e97d24a38"

// part is a span with the text around it, which is empty when it is alone.
type part struct {
	span
	before, after string
}

// newParts returns what a body is made of: one bare part for all of the content or for one span, else one for each span.
func newParts(spans []span, size int64) []part {
	switch len(spans) {
	case 0:
		return []part{{span: span{0, size}}}
	case 1:
		return []part{{span: spans[0]}}
	}
	out := make([]part, 0, len(spans))
	for _, s := range spans {
		out = append(out, part{span: s, before: fmt.Sprintf(
			"--%s\r\nContent-Type: application/octet-stream\r\nContent-Range: %s\r\n\r\n", boundary, s.contentRange(size)), after: "\r\n"})
	}
	out[len(out)-1].after = "\r\n--" + boundary + "--\r\n"
	return out
}

func totalLength(parts []part) (n int64) {
	for _, p := range parts {
		n += int64(len(p.before)) + p.length + int64(len(p.after))
	}
	return n
}
