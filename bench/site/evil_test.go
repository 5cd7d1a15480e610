package site

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/swarm"
	"github.com/dunlin-project/dunlin/swarm/conn"
	"github.com/dunlin-project/dunlin/swarm/discover"
	"github.com/dunlin-project/dunlin/swarm/group"
	"github.com/dunlin-project/dunlin/swarm/wire"
)

// evilEnv makes this test binary a device that means harm: "WHAT TORRENT CONTENT IP:PORT".
const evilEnv = "DUNLIN_BENCH_EVIL"

func TestMain(m *testing.M) {
	v := os.Getenv(evilEnv)
	if v == "" {
		os.Exit(m.Run())
	}
	if err := evil(context.Background(), v); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// evil lives until it is killed.
func evil(ctx context.Context, v string) error {
	f := strings.Fields(v)
	if len(f) != 4 {
		return fmt.Errorf("%q is no evil device", v)
	}
	b, err := os.ReadFile(f[1])
	if err != nil {
		return err
	}
	meta, err := piecehash.ParseMetainfo(b)
	if err != nil {
		return err
	}
	listen, err := netip.ParseAddrPort(f[3])
	if err != nil {
		return err
	}
	if f[0] == "mute" {
		return beMute(ctx, meta.Manifest, listen)
	}
	return corrupt(ctx, meta.Manifest, f[2], listen)
}

// liar says that it has every piece, and serves each with one bit turned.
type liar struct {
	m    *piecehash.Manifest
	file *os.File
}

func (l *liar) Manifest() *piecehash.Manifest { return l.m }

func (l *liar) Bitmap() piecehash.Bitmap {
	b := piecehash.NewBitmap(l.m.Pieces())
	for i := range b.Len() {
		b.Set(i)
	}
	return b
}

func (l *liar) ReadPiece(i int, buf []byte) ([]byte, error) {
	buf = append(buf[:0], make([]byte, l.m.PieceSize(i))...)
	if _, err := l.file.ReadAt(buf, l.m.Offset(i)); err != nil {
		return nil, err
	}
	buf[len(buf)/2] ^= 1
	return buf, nil
}

// corrupt is a member like any other but for what it serves.
func corrupt(ctx context.Context, m *piecehash.Manifest, content string, listen netip.AddrPort) error {
	file, err := os.Open(content)
	if err != nil {
		return err
	}
	defer file.Close()
	n, err := swarm.New(swarm.Config{Listen: []netip.AddrPort{listen}, Discover: true})
	if err != nil {
		return err
	}
	if _, err := n.Join(&liar{m, file}); err != nil {
		return err
	}
	return n.Run(ctx)
}

// mute is a member that says it has everything, takes every request, and never answers one. It dials nobody.
type mute struct {
	m    *piecehash.Manifest
	up   *conn.Upgrader
	auth group.Authenticator
}

func beMute(ctx context.Context, m *piecehash.Manifest, listen netip.AddrPort) error {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	_, id, err := conn.Identity(key)
	if err != nil {
		return err
	}
	limits := conn.Limits{Conns: 100, PerAddress: 20, DialsPerSec: 20, Memory: 256 << 20}
	up, err := conn.NewUpgrader(key, limits, func(peer.ID) bool { return true })
	if err != nil {
		return err
	}
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(listen))
	if err != nil {
		return err
	}
	d := &mute{m, up, group.Authenticator{Self: id, Keys: []group.Key{group.Open(swarm.DefaultGroup)}}}
	go discover.Run(ctx, discover.Config{
		Self: id, Listen: []netip.AddrPort{listen}, Tags: d.auth.DayTags,
		Found: func(peer.ID, netip.AddrPort) {}, Count: func(string) {}, Log: slog.New(slog.DiscardHandler),
	})
	for {
		c, err := l.AcceptTCP()
		if err != nil {
			return err
		}
		go d.serve(ctx, c)
	}
}

// serve takes what the other end opens, until that goes away.
func (d *mute) serve(ctx context.Context, c *net.TCPConn) {
	up, err := d.up.Upgrade(ctx, c, "")
	if err != nil {
		return
	}
	defer up.Close()
	if _, err := d.auth.Accept(ctx, up); err != nil {
		return
	}
	for {
		s, err := up.AcceptStream()
		if err != nil {
			return
		}
		go func() {
			proto, err := conn.Negotiate(s, wire.SiteProtocol, wire.PieceProtocol)
			if err == nil && s.SetDeadline(time.Time{}) == nil && proto == wire.SiteProtocol {
				err = d.boast(s)
			}
			if err == nil {
				fmt.Println("mute takes", proto)
				_, _ = io.Copy(io.Discard, s)
			}
		}()
	}
}

// boast joins whatever the other end shares, with everything.
func (d *mute) boast(s conn.Stream) error {
	for r := conn.Reader(s); ; {
		b, err := r.Next()
		if err != nil {
			return err
		}
		m, err := wire.DecodeSite(b)
		if err != nil {
			return err
		}
		i, ok := m.(*wire.Interest)
		if !ok {
			continue
		}
		if i.Pieces != d.m.Pieces() {
			return errors.New("not what is shared here")
		}
		return conn.Send(s, append(
			wire.EncodeSite(&wire.Interest{Room: 1, Swarm: i.Swarm, Epoch: i.Epoch, Pieces: i.Pieces}),
			wire.EncodeSite(&wire.Bitmap{Room: 1, Full: true, Last: true})...))
	}
}
