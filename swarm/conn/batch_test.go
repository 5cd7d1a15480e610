package conn

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

func tcpPair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialled.Close(); accepted.Close() })
	return dialled.(*net.TCPConn), accepted.(*net.TCPConn)
}

// TestHeldWritesGoTogether, in their order, and not before the flush.
func TestHeldWritesGoTogether(t *testing.T) {
	t.Parallel()
	a, far := tcpPair(t)
	b := &batch{TCPConn: a}
	b.hold()
	for _, s := range []string{"one ", "two ", "three "} {
		if n, err := b.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatal(n, err)
		}
	}
	far.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := far.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes came before the flush: %v", n, err)
	}
	if err := b.flush(); err != nil {
		t.Fatal(err)
	}
	b.Write([]byte("four"))
	b.Close()
	far.SetReadDeadline(time.Time{})
	if got, err := io.ReadAll(far); string(got) != "one two three four" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestClosingDoesNotWaitForTheFlush: what TLS says when it closes must not wait for a peer that takes nothing.
func TestClosingDoesNotWaitForTheFlush(t *testing.T) {
	t.Parallel()
	a, _ := tcpPair(t)
	b := &batch{TCPConn: a}
	b.hold()
	b.Write(make([]byte, 64<<20)) // more than the kernel takes
	done := make(chan error, 1)
	go func() { done <- b.flush() }()
	for busy := false; !busy; time.Sleep(time.Millisecond) {
		b.mu.Lock()
		busy = b.busy
		b.mu.Unlock()
	}
	if _, err := b.Write([]byte("alert")); err != nil {
		t.Fatal(err)
	}
	b.Close()
	if err := <-done; err == nil {
		t.Error("all was written to a peer that takes nothing")
	}
}

// TestReadsAhead gives every byte once and in order, however much is asked for at a time, and the end after them.
func TestReadsAhead(t *testing.T) {
	t.Parallel()
	a, far := tcpPair(t)
	want := make([]byte, 3<<20+17)
	for i := range want {
		want[i] = byte(i * i >> 7)
	}
	go func() {
		far.Write(want)
		far.Close()
	}()
	b := &batch{TCPConn: a}
	var got []byte
	for size := 1; ; size = size*3%(100<<10) + 1 {
		p := make([]byte, size)
		n, err := b.Read(p)
		got = append(got, p[:n]...)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes, want %d, or others", len(got), len(want))
	}
}
