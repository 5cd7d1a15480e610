package byterange

import "fmt"

// Boundary divides the parts of a multipart answer. It need not be secret, nor absent from the content: a client that
// understands Content-Length and the parts' Content-Range does not search for it, and 128 bits do not occur by chance.
const Boundary = "dunlin-6f0c1b5e97d24a38"

// Part is a span with the text around it, which is empty when it is alone.
type Part struct {
	Span
	Before, After string
}

// NewParts returns what a body is made of: one bare part for all of the content or for one span, else one for each span.
func NewParts(spans []Span, size int64) []Part {
	switch len(spans) {
	case 0:
		return []Part{{Span: Span{0, size}}}
	case 1:
		return []Part{{Span: spans[0]}}
	}
	out := make([]Part, 0, len(spans))
	for _, s := range spans {
		out = append(out, Part{Span: s, Before: fmt.Sprintf(
			"--%s\r\nContent-Type: application/octet-stream\r\nContent-Range: %s\r\n\r\n", Boundary, s.ContentRange(size)), After: "\r\n"})
	}
	out[len(out)-1].After = "\r\n--" + Boundary + "--\r\n"
	return out
}

// TotalLength is the length of the body that parts make, in bytes.
func TotalLength(parts []Part) (n int64) {
	for _, p := range parts {
		n += int64(len(p.Before)) + p.Length + int64(len(p.After))
	}
	return n
}
