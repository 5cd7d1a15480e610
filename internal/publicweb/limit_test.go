package publicweb

import (
	"net"
	"os"
	"testing"
	"time"
)

func TestConnectionsAreLimited(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ most, perHost int }{{2, 9}, {9, 2}} {
		raw, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l := Limit(raw.(*net.TCPListener), c.most, c.perHost)
		defer l.Close()
		accepted := make(chan net.Conn, 10)
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					close(accepted)
					return
				}
				accepted <- conn
			}
		}()
		dial := func() net.Conn {
			conn, err := net.Dial("tcp", raw.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			return conn
		}
		dial()
		dial()
		first := <-accepted
		<-accepted
		if third, err := net.Dial("tcp", raw.Addr().String()); err == nil { // else it was reset even earlier
			_ = third.SetReadDeadline(time.Now().Add(30 * time.Second))
			if _, err := third.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
				t.Errorf("%+v: the third connection was kept: %v", c, err)
			}
			third.Close()
		}
		first.Close()
		first.Close() // gives its place back once
		dial()
		<-accepted
		l.mu.Lock()
		if l.total != 2 || len(l.hosts) != 1 {
			t.Errorf("%+v: %d connections of %d hosts are counted", c, l.total, len(l.hosts))
		}
		l.mu.Unlock()
	}
}
