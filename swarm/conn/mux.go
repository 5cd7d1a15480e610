package conn

import (
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	muxyamux "github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-yamux/v5"
)

// Bounds of one connection's muxer.
const (
	firstWindow = 256 << 10 // bytes a stream may receive unread; grows to lastWindow while it is read quickly
	lastWindow  = 4 << 20
	maxStreams  = 8 // that a peer may have open to us; it needs three
	maxFrame    = 64 << 10
	keepAlive   = 10 * time.Second
)

// muxer makes yamux sessions with our own bounds, over a connection that counts what was written.
type muxer struct{}

func (muxer) NewConn(c net.Conn, server bool, scope network.PeerScope) (network.MuxedConn, error) {
	m := &meter{Conn: c}
	t := (*muxyamux.Transport)(&yamux.Config{
		AcceptBacklog:           maxStreams,
		PingBacklog:             4,
		EnableKeepAlive:         true,
		KeepAliveInterval:       keepAlive,
		MeasureRTTInterval:      time.Minute,
		ConnectionWriteTimeout:  WriteTimeout,
		MaxIncomingStreams:      maxStreams,
		InitialStreamWindowSize: firstWindow,
		MaxStreamWindowSize:     lastWindow,
		LogOutput:               io.Discard,
		ReadBufSize:             0, // TLS buffers
		MaxMessageSize:          maxFrame,
	})
	mc, err := t.NewConn(m, server, scope)
	if err != nil {
		return nil, err
	}
	return &metered{mc, m}, nil
}

// meter counts the bytes that the muxer has got rid of.
type meter struct {
	net.Conn
	written atomic.Int64
	below   atomic.Pointer[batch] // of the connection, once it is up
}

func (m *meter) Write(b []byte) (int, error) {
	n, err := m.write(b)
	m.written.Add(int64(n))
	return n, err
}

func (m *meter) write(b []byte) (int, error) {
	below := m.below.Load()
	if below == nil {
		return m.Conn.Write(b)
	}
	below.hold()
	n, err := m.Conn.Write(b)
	if ferr := below.flush(); ferr != nil && err == nil {
		err = ferr
	}
	return n, err
}

type metered struct {
	network.MuxedConn
	meter *meter
}

// As hands out the meter to who asks for it.
func (m *metered) As(target any) bool {
	if p, ok := target.(**meter); ok {
		*p = m.meter
		return true
	}
	return m.MuxedConn.As(target)
}
