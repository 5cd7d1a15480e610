package lab

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"
)

// Output collects what a process prints, for many readers.
type Output struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

// Write implements io.Writer.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Wait waits until the process has printed want, and returns the line that holds it.
func (o *Output) Wait(t testing.TB, want string, patience time.Duration) string {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for line := range strings.Lines(o.String()) {
			if strings.Contains(line, want) && strings.HasSuffix(line, "\n") {
				return strings.TrimSpace(line)
			}
		}
	}
	t.Fatalf("%q was not printed within %v; printed:\n%s", want, patience, o.String())
	return ""
}
