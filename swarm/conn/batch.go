package conn

import (
	"net"
	"sync"
)

// batchSize is how much is read from the kernel at once while more is waiting, in bytes: TLS alone asks for one record of
// 16 KiB at a time.
const batchSize = 64 << 10

// batch is a TCP connection that moves several TLS records in one system call. TLS writes each record by itself, and reads
// each by itself; on a fast link the calls cost more than the encryption.
type batch struct {
	*net.TCPConn

	// The reader's. While the kernel has more than TLS asks for, it is read ahead into buf.
	buf  *[batchSize]byte // nil on a quiet link
	rest []byte           // of buf, not yet handed out
	more bool             // the last read got all that it asked for

	mu    sync.Mutex // guards the rest
	held  bool       // until flush
	busy  bool       // flush is writing
	out   []byte     // what waits
	spare []byte     // the memory of what was written last
}

// Read implements net.Conn.
func (b *batch) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		if !b.more || len(p) >= batchSize {
			return b.direct(p)
		}
		if b.buf == nil {
			b.buf = new([batchSize]byte)
		}
		n, err := b.TCPConn.Read(b.buf[:])
		b.more = n == batchSize
		b.rest = b.buf[:n]
		if n == 0 {
			return 0, err
		}
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

func (b *batch) direct(p []byte) (int, error) {
	n, err := b.TCPConn.Read(p)
	b.more = n == len(p) && n > 0
	return n, err
}

// Write implements net.Conn. What comes while others are being flushed (TLS closes, or changes its keys) goes with them: it
// must not wait for a peer that takes nothing, because it is the closing that ends that wait.
func (b *batch) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held || b.busy {
		b.out = append(b.out, p...)
		return len(p), nil
	}
	return b.TCPConn.Write(p)
}

// hold keeps what is written until flush. Only one goroutine may hold and flush.
func (b *batch) hold() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held = true
}

// flush writes what was held.
func (b *batch) flush() (err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held, b.busy = false, true
	for len(b.out) > 0 && err == nil {
		out := b.out
		b.out = b.spare[:0]
		b.mu.Unlock()
		_, err = b.TCPConn.Write(out)
		b.mu.Lock()
		b.spare = out
	}
	b.busy = false
	return err
}
