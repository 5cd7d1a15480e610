package swarm

import (
	"bytes"
	"context"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/swarm/conn"
	"github.com/dunlin-project/dunlin/swarm/upload"
	"github.com/dunlin-project/dunlin/swarm/wire"
)

// sharing starts a node that shares content of eight pieces and hears about it.
func sharing(t *testing.T, change func(*Config)) (*Node, *Room, <-chan fetch.Heard) {
	t.Helper()
	data, m := fetchtest.Content(1, 8*256<<10, 256<<10)
	n := startNode(t, change)
	r, err := n.Join(fetchtest.FullPart(m, data))
	if err != nil {
		t.Fatal(err)
	}
	return n, r, r.Hear()
}

// TestBrokenRulesEndTheLink: what no honest peer says costs it the connection, and nothing else happens.
func TestBrokenRulesEndTheLink(t *testing.T) {
	t.Parallel()
	n, _, ch := sharing(t, nil)
	go func() {
		for range ch {
		}
	}()
	envelope := func(kind protowire.Number, body ...byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, kind, protowire.BytesType), body)
	}
	big := bytes.Repeat([]byte{0xff}, 1)
	for name, frames := range map[string][][]byte{
		"garbage":                  {[]byte("GET /a/rather/long/path/so/that/the/first/letter/is/a/length HTTP/1.1\r\nHost: x\r\n\r\n")},
		"length 0":                 {{0}},
		"length of 11 bytes":       {bytes.Repeat([]byte{0xff}, 11)},
		"length 2^32-1":            {{0xff, 0xff, 0xff, 0xff, 0x0f}},
		"have beyond the content":  {wire.EncodeSite(&wire.Have{Room: 1, Runs: []wire.Run{{First: 7, Count: 2}}})},
		"claim beyond the content": {wire.EncodeSite(&wire.Claim{Room: 1, Run: wire.Run{First: 8, Count: 1}})},
		"release beyond":           {wire.EncodeSite(&wire.Release{Room: 1, Run: wire.Run{First: 0, Count: 9}})},
		"a number used twice":      {wire.EncodeSite(&wire.Interest{Room: 1, Pieces: 8})},
		"bitmap too long":          {wire.EncodeSite(&wire.Bitmap{Room: 1, Bits: []byte{1, 1}, Last: true})},
		"bits beyond the pieces":   {wire.EncodeSite(&wire.Bitmap{Room: 1, Bits: append(big, 1), Last: true})},
		"a malformed message":      {wire.Frame(envelope(8, 8, 0xff))},
	} {
		r := newMember(t, n)
		s := r.joinAs()
		r.write(s, frames...)
		if !r.closedWithin(10 * time.Second) {
			t.Errorf("%s: the connection stays", name)
		}
	}
	await(t, "no links", func() bool { return len(n.Peers()) == 0 })
}

// TestUnknownIsNoFault: a peer of a later version may say more than we know.
func TestUnknownIsNoFault(t *testing.T) {
	t.Parallel()
	n, _, ch := sharing(t, nil)
	r := newMember(t, n)
	s := r.joinAs()
	heard[fetch.Joined](t, ch)
	later := protowire.AppendBytes(protowire.AppendTag(nil, 300, protowire.BytesType), []byte("later"))
	for _, number := range []uint32{2, 1} { // a content that was never named, then a good one
		r.write(s, wire.Frame(later), wire.EncodeSite(&wire.Claim{Room: number, Run: wire.Run{First: 1, Count: 1}, Rate: 5}))
	}
	if got := heard[fetch.Said](t, ch).What; got != (fetch.SayClaim{First: 1, Count: 1, Rate: 5}) {
		t.Errorf("%+v", got)
	}
	// A whole other protocol is refused without harm.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := r.conn.Open(ctx, "/dunlin/later/9"); err == nil {
		t.Error("a protocol of later is spoken")
	}
	if r.conn.IsClosed() {
		t.Error("the connection was closed")
	}
}

// TestOneControlStream: the dialer opens it, once.
func TestOneControlStream(t *testing.T) {
	t.Parallel()
	n, _, _ := sharing(t, nil)
	r := newMember(t, n)
	r.site()
	r.conn.Open(t.Context(), wire.SiteProtocol)
	if !r.closedWithin(5 * time.Second) {
		t.Error("two control streams stand")
	}
}

func TestTooManyContents(t *testing.T) {
	t.Parallel()
	n, _, _ := sharing(t, nil)
	r := newMember(t, n)
	s, _ := r.site()
	var b []byte
	for i := range maxRooms + 1 {
		b = append(b, wire.EncodeSite(&wire.Interest{Room: uint32(i + 1), Swarm: anyID(), Epoch: 1, Pieces: 5})...)
	}
	s.Write(b)
	if !r.closedWithin(10 * time.Second) {
		t.Error("a peer that names too many contents stays")
	}
}

// TestUnreadControlStreamIsBounded: a peer that makes us answer and does not read is dropped.
func TestUnreadControlStreamIsBounded(t *testing.T) {
	t.Parallel()
	n, _, _ := sharing(t, nil)
	r := newMember(t, n)
	s := r.open(wire.SiteProtocol)
	var b []byte
	for i := range 500 {
		b = append(b, wire.EncodeSite(&wire.Interest{Room: uint32(i + 1), Swarm: anyID(), Epoch: 1, Pieces: 5})...)
		b = append(b, wire.EncodeSite(&wire.Leave{Room: uint32(i + 1)})...)
	}
	for range 10_000 {
		if _, err := s.Write(b); err != nil {
			return // it was dropped
		}
	}
	t.Error("five million messages were taken")
}

func TestRequestsForNothing(t *testing.T) {
	t.Parallel()
	n, _, _ := sharing(t, nil)
	r := newMember(t, n)
	r.joinAs()
	s := r.open(wire.PieceProtocol)
	rd := wire.NewReader(s)
	for id, m := range map[uint32]*wire.Request{
		1: {ID: 1, Room: 1, Piece: 8},                  // beyond
		2: {ID: 2, Room: 9, Piece: 0},                  // a content that was not named
		3: {ID: 3, Room: 1, Piece: wire.MaxPieces - 1}, // far beyond
	} {
		r.write(s, wire.EncodeAsk(m))
		got, _, err := rd.NextAnswer()
		if a, ok := got.(*wire.NotHere); err != nil || !ok || a.ID != id {
			t.Errorf("request %d: %#v, %v", id, got, err)
		}
	}
	if n.Served() != 0 {
		t.Error("something was served")
	}
}

// TestRequestFlood: many thousand requests cost a bounded number of answers that wait, and the honest ones among
// them are served.
func TestRequestFlood(t *testing.T) {
	t.Parallel()
	n, _, _ := sharing(t, nil)
	r := newMember(t, n)
	r.joinAs()
	s := r.open(wire.PieceProtocol)
	const flood = 10_000
	go func() {
		var b []byte
		for i := range flood {
			b = append(b, wire.EncodeAsk(&wire.Request{ID: uint32(i), Room: 1, Piece: i % 8})...)
			if len(b) > 32<<10 || i == flood-1 {
				if _, err := s.Write(b); err != nil {
					return
				}
				b = b[:0]
			}
		}
	}()
	rd := wire.NewReader(s)
	answered, served, busy := 0, 0, 0
	for answered < flood {
		m, size, err := rd.NextAnswer()
		if err != nil {
			t.Fatalf("after %d answers: %v", answered, err)
		}
		switch m := m.(type) {
		case *wire.Slice:
			if err := rd.SkipData(size); err != nil {
				t.Fatal(err)
			}
			if m.Offset+size == 256<<10 {
				served++
				answered++
			}
		case *wire.Busy:
			if m.Retry < upload.ShortWait || m.Retry > upload.LongWait {
				t.Fatalf("busy for %v", m.Retry)
			}
			busy++
			answered++
		}
		s.SetDeadline(time.Now().Add(20 * time.Second))
	}
	if served == 0 || busy == 0 {
		t.Errorf("%d served, %d busy", served, busy)
	}
}

// TestSlowReader: somebody who takes nothing of what he asked for holds no memory that others want, and is dropped.
func TestSlowReader(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a timeout")
	}
	t.Parallel()
	const readers, each = 6, 4 // pieces of their own, so that none of them waits for another's copy and is told busy
	data, m := fetchtest.Content(2, readers*each<<20, 1<<20)
	n := startNode(t, func(c *Config) { c.Limits.Loaded = 1 }) // room for a piece or two: the least there is
	if _, err := n.Join(fetchtest.FullPart(m, data)); err != nil {
		t.Fatal(err)
	}
	var slow []*raw
	for k := range readers {
		r := newMember(t, n)
		r.joinAs()
		s := r.open(wire.PieceProtocol)
		for i := range each {
			r.write(s, wire.EncodeAsk(&wire.Request{ID: uint32(i), Room: 1, Piece: each*k + i}))
		}
		slow = append(slow, r)
	}
	time.Sleep(100 * time.Millisecond)
	quick := newMember(t, n)
	quick.joinAs()
	s := quick.open(wire.PieceProtocol)
	quick.write(s, wire.EncodeAsk(&wire.Request{ID: 7, Room: 1, Piece: 0})) // one that a slow reader is being sent
	rd, got := wire.NewReader(s), 0
	for got < 1<<20 {
		a, size, err := rd.NextAnswer()
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := a.(*wire.Slice); !ok {
			t.Fatalf("%#v", a)
		}
		got += size
		rd.SkipData(size)
	}
	for _, r := range slow {
		r.conn.OpenStream(t.Context()) // so that its end is noticed
	}
	await(t, "the slow ones' uploads end", func() bool {
		serving := 0
		for _, l := range n.linksNow() {
			if l.fed.Load() {
				serving++
			}
		}
		return serving == 1
	})
}

// TestIdleConnections: a thousand connections that say nothing cost a bounded number of handshakes, and a peer that
// comes later gets in.
func TestIdleConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a timeout")
	}
	t.Parallel()
	n, _, _ := sharing(t, func(c *Config) { c.Limits.DialsPerSec = 10_000 })
	before := runtime.NumGoroutine()
	for range 1000 {
		c, err := net.Dial("tcp", n.listen[0].Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	if grown := runtime.NumGoroutine() - before; grown > 8*n.cfg.Limits.Handshakes {
		t.Errorf("%d goroutines more", grown)
	}
	await(t, "somebody else comes in", func() bool {
		c, err := net.DialTimeout("tcp", n.listen[0].Addr().String(), time.Second)
		if err != nil {
			return false
		}
		c.Close()
		n2, err := New(Config{Peers: n.Addrs()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		go func() {
			for ctx.Err() == nil && len(n2.Peers()) == 0 {
				time.Sleep(10 * time.Millisecond)
			}
			cancel()
		}()
		n2.Run(ctx)
		return ctx.Err() == context.Canceled
	})
}

// TestDrip: a peer that sends its messages byte by byte harms nobody else.
func TestDrip(t *testing.T) {
	t.Parallel()
	n, _, ch := sharing(t, nil)
	drip := newMember(t, n)
	s, _ := drip.site()
	go func() {
		for _, c := range wire.EncodeSite(&wire.Absent{Room: 1}) {
			s.Write([]byte{c})
			time.Sleep(20 * time.Millisecond)
		}
	}()
	newMember(t, n).joinAs()
	heard[fetch.Joined](t, ch)
}

// TestHalfClose: a control stream that the peer has ended ends the link.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	n, _, ch := sharing(t, nil)
	r := newMember(t, n)
	s := r.joinAs()
	heard[fetch.Joined](t, ch)
	s.CloseWrite()
	heard[fetch.Left](t, ch)
}

// TestLyingSlices: answers that no server gives end the link and fail the request, whatever they are.
func TestLyingSlices(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(id uint32) []byte{
		"a gap": func(id uint32) []byte { return wire.EncodeAnswer(&wire.Slice{ID: id, Offset: 5, Data: []byte("x")}) },
		"beyond the piece": func(id uint32) []byte {
			return wire.EncodeAnswer(&wire.Slice{ID: id, Offset: 256 << 10, Data: []byte("x")})
		},
		"not zstd": func(id uint32) []byte {
			return wire.EncodeAnswer(&wire.Slice{ID: id, Raw: 500, Data: []byte("nozstd")})
		},
		"zstd of another size": func(id uint32) []byte { return wire.EncodeAnswer(packed(id, make([]byte, 1000), 999)) },
		"a bomb":               func(id uint32) []byte { return wire.EncodeAnswer(packed(id, make([]byte, 64<<20), 50_000)) },
		"garbage":              func(uint32) []byte { return bytes.Repeat([]byte{0xff}, 64) },
	} {
		data, m := fetchtest.Content(1, 8*256<<10, 256<<10)
		n := startNode(t, nil)
		_ = data
		room, err := n.Join(fetchtest.NewPart(m))
		if err != nil {
			t.Fatal(err)
		}
		r := newMember(t, n)
		r.joinAs()
		j := heard[fetch.Joined](t, room.Hear())
		got := make(chan error, 1)
		go func() { got <- j.Peer.Fetch(t.Context(), 3, &fetchtest.Collector{M: m}) }()
		s, err := r.conn.AcceptStream()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Negotiate(s, wire.PieceProtocol); err != nil {
			t.Fatal(err)
		}
		b, err := wire.NewReader(s).Next()
		if err != nil {
			t.Fatal(err)
		}
		a, _ := wire.DecodeAsk(b)
		s.Write(answer(a.(*wire.Request).ID))
		go io.Copy(io.Discard, s)
		select {
		case err := <-got:
			if err == nil {
				t.Errorf("%s: no error", name)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: the request hangs", name)
		}
		if !r.closedWithin(10 * time.Second) {
			t.Errorf("%s: the connection stays", name)
		}
	}
}

// packed is a compressed slice that says it stands for raw bytes.
func packed(id uint32, data []byte, raw int) *wire.Slice {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return &wire.Slice{ID: id, Raw: raw, Data: w.EncodeAll(data, nil)}
}
