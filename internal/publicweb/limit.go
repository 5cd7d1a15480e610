package publicweb

import (
	"net"
	"net/netip"
	"sync"
)

// Limits of a listener. A site behind one address may have many devices, so an address may hold many
// connections, but never all.
const (
	DefaultConns        = 8192 // of one listener
	DefaultConnsPerHost = 2048 // of one listener and one remote address
)

// Listener turns connections away beyond its limits, at once: a queue would let a few idle ones starve the rest.
type Listener struct {
	*net.TCPListener
	most, mostPerHost int

	mu    sync.Mutex
	total int                // guarded by mu
	hosts map[netip.Addr]int // guarded by mu
}

// Limit admits to l at most so many connections at once, and so many of one remote address.
func Limit(l *net.TCPListener, most, mostPerHost int) *Listener {
	return &Listener{TCPListener: l, most: most, mostPerHost: mostPerHost, hosts: map[netip.Addr]int{}}
}

// Accept returns the next connection that is within the limits.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptTCP()
		if err != nil {
			return nil, err
		}
		host := remoteAddr(c)
		if l.admit(host) {
			return &limitedConn{TCPConn: c, leave: sync.OnceFunc(func() { l.leave(host) })}, nil
		}
		_ = c.SetLinger(0)
		_ = c.Close()
	}
}

func remoteAddr(c net.Conn) netip.Addr {
	a, _ := netip.ParseAddrPort(c.RemoteAddr().String())
	return a.Addr().Unmap().WithZone("")
}

func (l *Listener) admit(host netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= l.most || l.hosts[host] >= l.mostPerHost {
		return false
	}
	l.total++
	l.hosts[host]++
	return true
}

func (l *Listener) leave(host netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if l.hosts[host]--; l.hosts[host] == 0 {
		delete(l.hosts, host)
	}
}

// limitedConn gives its place back when it is closed. It embeds the TCP connection itself so that files still go out by
// sendfile.
type limitedConn struct {
	*net.TCPConn
	leave func()
}

// Close closes the connection and gives its place back.
func (c *limitedConn) Close() error {
	defer c.leave()
	return c.TCPConn.Close()
}
