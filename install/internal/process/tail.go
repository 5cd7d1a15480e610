package process

import "strings"

// MaxOutput is how much of what a program prints is kept, in bytes: the end of it, where errors are.
const MaxOutput = 16 << 10

// tail is a writer that keeps the end of what is written. One goroutine writes.
type tail struct {
	kept  []byte
	total int64
}

// Write implements io.Writer. It never fails, so that a program that prints too much is not killed for it.
func (t *tail) Write(b []byte) (int, error) {
	t.total += int64(len(b))
	kept := b
	if len(kept) > MaxOutput {
		kept = kept[len(kept)-MaxOutput:]
	}
	if over := len(t.kept) + len(kept) - MaxOutput; over > 0 {
		t.kept = t.kept[:copy(t.kept, t.kept[over:])]
	}
	t.kept = append(t.kept, kept...)
	return len(b), nil
}

func (t *tail) String() string { return strings.ToValidUTF8(string(t.kept), "?") }
