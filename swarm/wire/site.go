package wire

import (
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// SwarmID names content on the wire: HMAC-SHA-256 of the group's key over the root.
type SwarmID [32]byte

// Site is a message of SiteProtocol: an *Interest, *Bitmap, *Have, *Claim, *Release, *Links, *Absent or *Leave. Room is the
// number that the sender gave to the content on this connection.
type Site interface {
	site() (protowire.Number, []byte)
}

// Interest says "I share this content; my number for it is Room".
type Interest struct {
	Room   uint32
	Swarm  SwarmID
	Epoch  uint64 // of the key that Swarm was made with
	Pieces int
}

// Bitmap is a part of what the sender has, the answer to an Interest of the same content. Bits is empty and Full set
// when it has everything; both are empty when it has nothing.
type Bitmap struct {
	Room  uint32
	First int // the first piece of this part: a multiple of 8, where the part before ended
	Bits  []byte
	Full  bool
	Last  bool // nothing follows: the sender is a member now
}

// Run is Count pieces from First on.
type Run struct{ First, Count int }

// Word says whose word a Have, Claim or Release is, so that it can be passed on to who has no link to that device.
type Word struct {
	Sayer string // binary peer id; empty: the sender's own word
	Seq   uint64 // the sayer's number for it, rising; 0: it is not passed on
	Hops  int    // how often it may still be passed on, when it is not the sender's own
}

// Have says that the pieces are there to be asked for; or, with a number, that the one run of it came from the origin.
type Have struct {
	Room uint32
	Runs []Run
	Word Word
}

// Claim says that the sender is fetching the run from the origin.
type Claim struct {
	Room uint32
	Run  Run
	Rate int64 // bytes per second, 0 unknown
	Done int64 // bytes of the run that have arrived
	Word Word
}

// Release takes a claim back.
type Release struct {
	Room uint32
	Run  Run
	Word Word
}

// Short stands for a peer id: see package relay.
type Short = [8]byte

// Links says which members the sender has links to, since its last message of the kind, and to which not any more. Anew
// begins the list.
type Links struct {
	Room             uint32
	Anew             bool
	Linked, Unlinked []Short
}

// Absent answers the Interest with the receiver's number Room: the sender does not share that content.
type Absent struct{ Room uint32 }

// Leave says that the sender does not share the content any more.
type Leave struct{ Room uint32 }

func (m *Interest) site() (protowire.Number, []byte) {
	b := appendNumber(nil, 1, m.Room)
	b = appendBytes(b, 2, m.Swarm[:])
	b = appendNumber(b, 3, m.Epoch)
	return 1, appendNumber(b, 4, m.Pieces)
}

func (m *Bitmap) site() (protowire.Number, []byte) {
	b := appendNumber(nil, 1, m.Room)
	b = appendNumber(b, 2, m.First)
	b = appendBytes(b, 3, m.Bits)
	b = appendBool(b, 4, m.Full)
	return 2, appendBool(b, 5, m.Last)
}

func (m *Have) site() (protowire.Number, []byte) {
	var runs []byte
	for _, r := range m.Runs {
		runs = protowire.AppendVarint(runs, uint64(r.First))
		runs = protowire.AppendVarint(runs, uint64(r.Count))
	}
	return 3, m.Word.append(appendBytes(appendNumber(nil, 1, m.Room), 2, runs))
}

func (m *Claim) site() (protowire.Number, []byte) {
	b := appendNumber(nil, 1, m.Room)
	b = appendRun(b, m.Run)
	b = appendNumber(b, 4, m.Rate)
	return 4, m.Word.append(appendNumber(b, 5, m.Done))
}

func (m *Release) site() (protowire.Number, []byte) {
	return 5, m.Word.append(appendRun(appendNumber(nil, 1, m.Room), m.Run))
}

func (m *Links) site() (protowire.Number, []byte) {
	b := appendBool(appendNumber(nil, 1, m.Room), 2, m.Anew)
	b = appendBytes(b, 3, joinShorts(m.Linked))
	return 6, appendBytes(b, 4, joinShorts(m.Unlinked))
}

func joinShorts(s []Short) (b []byte) {
	for _, x := range s {
		b = append(b, x[:]...)
	}
	return b
}

func (w *Word) append(b []byte) []byte {
	b = appendBytes(b, 6, []byte(w.Sayer))
	b = appendNumber(b, 7, w.Seq)
	return appendNumber(b, 8, w.Hops)
}

// slots adds the fields of a word to those of its message.
func (w *Word) slots(spec map[protowire.Number]slot) map[protowire.Number]slot {
	spec[6] = func(x field) error {
		var b []byte
		err := blob(&b, MaxPeerID)(x)
		w.Sayer = string(b)
		return err
	}
	spec[7], spec[8] = number(&w.Seq, math.MaxInt64), number(&w.Hops, MaxHops)
	return spec
}

func (w *Word) check() error {
	if w.Sayer != "" && w.Seq == 0 {
		return malformed("another's word without a number")
	}
	return nil
}

func (m *Absent) site() (protowire.Number, []byte) { return 7, appendNumber(nil, 1, m.Room) }
func (m *Leave) site() (protowire.Number, []byte)  { return 8, appendNumber(nil, 1, m.Room) }

func appendRun(b []byte, r Run) []byte {
	return appendNumber(appendNumber(b, 2, r.First), 3, r.Count)
}

// EncodeSite returns the framed message.
func EncodeSite(m Site) []byte {
	kind, body := m.site()
	return Frame(envelope(kind, body))
}

// DecodeSite reads one message body; the result does not alias b. It returns nil and no error for a kind that is not
// known.
func DecodeSite(b []byte) (Site, error) {
	kind, body, err := open(b)
	if err != nil {
		return nil, err
	}
	switch kind {
	case 1:
		return decodeInterest(body)
	case 2:
		return decodeBitmap(body)
	case 3:
		return decodeHave(body)
	case 4:
		var m Claim
		err = message(body, m.Word.slots(map[protowire.Number]slot{
			1: room(&m.Room), 2: index(&m.Run.First), 3: count(&m.Run.Count),
			4: number(&m.Rate, MaxRate), 5: number(&m.Done, MaxDone),
		}))
		return &m, firstError(err, m.Run.check(), m.Word.check())
	case 5:
		var m Release
		err = message(body, m.Word.slots(map[protowire.Number]slot{1: room(&m.Room), 2: index(&m.Run.First), 3: count(&m.Run.Count)}))
		return &m, firstError(err, m.Run.check(), m.Word.check())
	case 6:
		return decodeLinks(body)
	case 7:
		var m Absent
		return &m, message(body, map[protowire.Number]slot{1: room(&m.Room)})
	case 8:
		var m Leave
		return &m, message(body, map[protowire.Number]slot{1: room(&m.Room)})
	}
	return nil, nil
}

func decodeInterest(body []byte) (Site, error) {
	var m Interest
	err := message(body, map[protowire.Number]slot{
		1: room(&m.Room), 2: array(m.Swarm[:]), 3: number(&m.Epoch, math.MaxInt64), 4: count(&m.Pieces),
	})
	if err == nil && m.Pieces == 0 {
		err = malformed("content of no pieces")
	}
	return &m, err
}

func decodeBitmap(body []byte) (Site, error) {
	var m Bitmap
	var bits []byte
	err := message(body, map[protowire.Number]slot{
		1: room(&m.Room), 2: index(&m.First), 3: blob(&bits, MaxBitmapPart), 4: boolean(&m.Full), 5: boolean(&m.Last),
	})
	switch {
	case err != nil:
	case m.First%8 != 0:
		err = malformed("bitmap from piece %d on, which is no multiple of 8", m.First)
	case m.Full && (len(bits) > 0 || m.First > 0 || !m.Last):
		err = malformed("a full bitmap with bits, an offset or a sequel")
	case !m.Last && len(bits) == 0:
		err = malformed("an empty part of a bitmap")
	}
	m.Bits = append([]byte(nil), bits...)
	return &m, err
}

func decodeHave(body []byte) (Site, error) {
	var m Have
	var runs []byte
	err := message(body, m.Word.slots(map[protowire.Number]slot{1: room(&m.Room), 2: blob(&runs, MaxRuns*6)}))
	for len(runs) > 0 && err == nil {
		if len(m.Runs) == MaxRuns {
			return &m, malformed("more than %d runs", MaxRuns)
		}
		var r Run
		r, runs, err = consumeRun(runs)
		m.Runs = append(m.Runs, r)
	}
	if err == nil && m.Word.Seq > 0 && len(m.Runs) != 1 {
		err = malformed("%d runs under one number", len(m.Runs))
	}
	return &m, firstError(err, m.Word.check())
}

func decodeLinks(body []byte) (Site, error) {
	var m Links
	var linked, unlinked []byte
	err := message(body, map[protowire.Number]slot{
		1: room(&m.Room), 2: boolean(&m.Anew), 3: blob(&linked, MaxLinks*len(Short{})), 4: blob(&unlinked, MaxLinks*len(Short{})),
	})
	if err == nil && (len(linked)%len(Short{}) != 0 || len(unlinked)%len(Short{}) != 0) {
		err = malformed("a list of links that ends within one")
	}
	m.Linked, m.Unlinked = splitShorts(linked), splitShorts(unlinked)
	return &m, err
}

func splitShorts(b []byte) (out []Short) {
	for ; len(b) >= len(Short{}); b = b[len(Short{}):] {
		out = append(out, Short(b))
	}
	return out
}

func consumeRun(b []byte) (Run, []byte, error) {
	first, n := protowire.ConsumeVarint(b)
	if n < 0 {
		return Run{}, nil, malformed("run: %v", protowire.ParseError(n))
	}
	many, k := protowire.ConsumeVarint(b[n:])
	if k < 0 {
		return Run{}, nil, malformed("run: %v", protowire.ParseError(k))
	}
	if first >= MaxPieces || many > MaxPieces {
		return Run{}, nil, malformed("run of %d pieces from %d on", many, first)
	}
	r := Run{int(first), int(many)}
	return r, b[n+k:], r.check()
}

func (r Run) check() error {
	if r.Count < 1 || r.First+r.Count > MaxPieces {
		return malformed("run of %d pieces from %d on", r.Count, r.First)
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func room(p *uint32) slot { return number(p, math.MaxUint32) }
func index(p *int) slot   { return number(p, MaxPieces-1) }
func count(p *int) slot   { return number(p, MaxPieces) }

func milliseconds(p *time.Duration, limit time.Duration) slot {
	return func(x field) error {
		var ms uint64
		err := number(&ms, uint64(limit/time.Millisecond))(x)
		*p = time.Duration(ms) * time.Millisecond
		return err
	}
}
