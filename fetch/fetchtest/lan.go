package fetchtest

import (
	"context"
	"sync"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
)

// slice is how many bytes a link carries before another transfer gets its turn.
const slice = 64 << 10

// Pipe is a line of fixed rate that transfers share slice by slice.
type Pipe struct {
	rate float64 // bytes per second

	mu   sync.Mutex // guards free and used
	free time.Time  // when the line has sent what was given to it
	used int64
}

// NewPipe returns a line of the given bytes per second.
func NewPipe(rate float64) *Pipe { return &Pipe{rate: rate} }

// Carry takes n bytes over the line and returns when they have arrived, or when ctx ends. Bytes given to the line count
// as used also then.
func (p *Pipe) Carry(ctx context.Context, n int) error {
	p.mu.Lock()
	start := time.Now()
	if p.free.After(start) {
		start = p.free
	}
	p.free = start.Add(time.Duration(float64(n) / p.rate * float64(time.Second)))
	until := p.free
	p.used += int64(n)
	p.mu.Unlock()
	return sleep(ctx, time.Until(until))
}

// Used returns how many bytes the line has carried.
func (p *Pipe) Used() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// LAN is a network in memory on which every device hears every other after Delay.
type LAN struct {
	Delay time.Duration // one way
	// Links is how long after joining a device's links come up.
	Links time.Duration

	mu      sync.Mutex // guards devices
	devices []*Device
}

// Device is one member of a LAN. It implements fetch.Site.
type Device struct {
	ID    fetch.PeerID
	Part  *Part
	Up    *Pipe // its uplink; nil = unlimited
	Down  *Pipe // its downlink; nil = unlimited
	Mute  bool  // takes requests and never answers
	Lying bool  // flips a bit in every piece

	uplink upQueue
	lan    *LAN
	events chan fetch.Heard // closed by Leave
	queue  chan delivery
	quit   chan struct{}
	wg     sync.WaitGroup
}

type delivery struct {
	at time.Time
	h  fetch.Heard
}

// Join adds a device. Its links to the devices there are come up after LAN.Links. Leave must be called.
func (l *LAN) Join(id fetch.PeerID, part *Part, up *Pipe) *Device {
	d := &Device{
		ID: id, Part: part, Up: up, lan: l,
		events: make(chan fetch.Heard), queue: make(chan delivery, 1<<16), quit: make(chan struct{}),
	}
	d.wg.Go(d.deliver)
	l.mu.Lock()
	defer l.mu.Unlock()
	up1 := time.Now().Add(l.Links)
	for _, o := range l.devices {
		d.send(up1, joined(o))
		o.send(up1, joined(d))
	}
	l.devices = append(l.devices, d)
	return d
}

// lazyJoin is resolved when it is delivered, so that the bitmap is of that moment.
type lazyJoin struct {
	fetch.Joined
	dev *Device
}

func joined(d *Device) fetch.Heard { return lazyJoin{dev: d} }

func (d *Device) deliver() {
	defer close(d.events)
	for {
		select {
		case <-d.quit:
			return
		case x := <-d.queue:
			time.Sleep(time.Until(x.at))
			h := x.h
			if j, ok := h.(lazyJoin); ok {
				h = fetch.Joined{ID: j.dev.ID, Have: j.dev.Part.Bitmap(), Peer: link{j.dev, d}, RTT: 2 * d.lan.Delay}
			}
			select {
			case d.events <- h:
			case <-d.quit:
				return
			}
		}
	}
}

func (d *Device) send(at time.Time, h fetch.Heard) { d.queue <- delivery{at, h} }

// Hear implements fetch.Site.
func (d *Device) Hear() <-chan fetch.Heard { return d.events }

// Say implements fetch.Site.
func (d *Device) Say(s fetch.Saying) {
	at := time.Now().Add(d.lan.Delay)
	d.lan.mu.Lock()
	defer d.lan.mu.Unlock()
	for _, o := range d.lan.devices {
		if o != d {
			o.send(at, fetch.Said{ID: d.ID, What: s})
		}
	}
}

// Leave takes the device off the LAN at once and waits for its goroutine. What it serves breaks off.
func (d *Device) Leave() {
	d.lan.mu.Lock()
	for i, o := range d.lan.devices {
		if o == d {
			d.lan.devices = append(d.lan.devices[:i], d.lan.devices[i+1:]...)
			break
		}
	}
	for _, o := range d.lan.devices {
		o.send(time.Now().Add(d.lan.Delay), fetch.Left{ID: d.ID})
	}
	d.lan.mu.Unlock()
	close(d.quit)
	d.wg.Wait()
}

// link is the way from one device to another. It implements fetch.Peer.
type link struct{ from, to *Device }

// Fetch implements fetch.Peer.
func (l link) Fetch(ctx context.Context, i int, sink fetch.Sink) error {
	return l.from.serve(ctx, l.to.ID, i, l.to.behind(sink))
}

// Behind is an origin as it looks from behind the device's downlink.
func (d *Device) Behind(o fetch.Origin) fetch.Origin { return behindOrigin{o, d} }

type behindOrigin struct {
	fetch.Origin
	d *Device
}

// Fetch implements fetch.Origin.
func (b behindOrigin) Fetch(ctx context.Context, first, count int, why fetch.Reason, sink fetch.Sink) error {
	return b.Origin.Fetch(ctx, first, count, why, b.d.behind(sink))
}

func (d *Device) behind(sink fetch.Sink) fetch.Sink {
	if d.Down == nil {
		return sink
	}
	return behindSink{sink, d.Down}
}

// behindSink takes what arrives over a downlink.
type behindSink struct {
	fetch.Sink
	down *Pipe
}

// Progress implements fetch.Sink.
func (b behindSink) Progress(ctx context.Context, n int) {
	if b.down.Carry(ctx, n) == nil {
		b.Sink.Progress(ctx, n)
	}
}

// Fetch implements fetch.Peer: it serves a piece to another device.
func (d *Device) Fetch(ctx context.Context, i int, sink fetch.Sink) error {
	return d.serve(ctx, "", i, sink)
}

func (d *Device) serve(ctx context.Context, to fetch.PeerID, i int, sink fetch.Sink) error {
	if err := sleep(ctx, 2*d.lan.Delay); err != nil {
		return err
	}
	if d.Mute {
		<-ctx.Done()
		return ctx.Err()
	}
	b := d.Part.Piece(i)
	if b == nil {
		return fetch.ErrAbsent
	}
	if d.Up != nil {
		if err := d.uplink.enter(ctx, to, i, float64(len(b))/d.Up.rate); err != nil {
			return err
		}
		defer d.uplink.leave(to, i)
	}
	if d.Lying {
		b = append([]byte(nil), b...)
		b[0] ^= 1
	}
	for off := 0; off < len(b); off += slice {
		n := min(slice, len(b)-off)
		if d.Up != nil {
			if err := d.Up.Carry(ctx, n); err != nil {
				return err
			}
		}
		select {
		case <-d.quit:
			return errGone
		default:
		}
		sink.Progress(ctx, n)
	}
	return sink.Piece(i, b)
}

var _ fetch.Site = (*Device)(nil)
