package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// DefaultGroup is the group of devices that neither their configuration nor their organisation puts into another.
const DefaultGroup = "lan"

// Swarm is what the agent needs of the devices around it. Package swarm has the real one; cmd/dunlin hands it in.
type Swarm interface {
	// Run lives until ctx ends. When it returns, every room is closed.
	Run(ctx context.Context) error
	// Join shares content, in whole or in part. The same content is joined once at a time.
	Join(h Holding) (Room, error)
	// Layer asks the members for the piece layer of content.
	Layer(ctx context.Context, c piecehash.Content) (*piecehash.Manifest, error)
}

// Holding is content that is there, in whole or in part. store.Partial and store.File are.
type Holding interface {
	Manifest() *piecehash.Manifest
	Bitmap() piecehash.Bitmap
	ReadPiece(i int, buf []byte) ([]byte, error)
}

// Room is one content shared with the members of the site. One that nobody hears just serves.
type Room interface {
	fetch.Site
	Self() fetch.PeerID // this device's name in the room
	Close() error
}

// closableHolding is a Holding that the lan closes when nobody is served from it any more.
type closableHolding interface {
	Holding
	io.Closer
}

// lan owns the agent's one link to the devices around it: the swarm, and the rooms that serve from it. Without a swarm,
// because sharing is off or its port is taken, everything goes on by HTTP.
type lan struct {
	open func(group string) (Swarm, error) // nil: sharing is off
	log  *slog.Logger

	mu    sync.Mutex // guards what follows
	group string     // of swarm
	swarm Swarm      // nil: there is none
	stop  func()     // ends swarm and waits for it
	rooms map[piecehash.Root]*seat
}

// seat is a room together with what is served in it. It implements fetch.Site for one fetch.
type seat struct {
	Room
	holding closableHolding

	mu    sync.Mutex         // guards heard
	heard <-chan fetch.Heard // nil until somebody listens
}

// Hear implements fetch.Site.
func (s *seat) Hear() <-chan fetch.Heard {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = s.Room.Hear()
	return s.heard
}

// quit leaves the room, and takes what it still says: a room that was heard must be heard to its end.
func (s *seat) quit() error {
	err := s.Room.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.heard != nil {
		for range s.heard {
		}
	}
	return err
}

func newLAN(open func(string) (Swarm, error), log *slog.Logger) *lan {
	return &lan{open: open, log: log, rooms: make(map[piecehash.Root]*seat)}
}

// enter makes sure that the device is in the given group. It leaves another one first: nothing is served to a group that
// the organisation has moved the device out of. ctx is that of the agent's life.
func (l *lan) enter(ctx context.Context, group string) error {
	l.mu.Lock()
	same := l.open == nil || l.swarm != nil && l.group == group
	l.mu.Unlock()
	if same {
		return nil
	}
	l.leave()
	s, err := l.open(group)
	if err != nil {
		return fmt.Errorf("join group %s: %w", group, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	l.mu.Lock()
	l.group, l.swarm, l.stop = group, s, func() { cancel(); <-done }
	l.mu.Unlock()
	go func() {
		defer close(done)
		err := s.Run(ctx)
		if ctx.Err() == nil {
			l.log.WarnContext(ctx, "the link to other devices has ended, the next cycle opens it again", slog.Any("err", err))
		}
		l.lost(s)
	}()
	l.log.InfoContext(ctx, "sharing with the local network", slog.String("group", group))
	return nil
}

// lost forgets a swarm that has ended.
func (l *lan) lost(s Swarm) {
	l.mu.Lock()
	if l.swarm == s {
		l.swarm = nil
	}
	l.mu.Unlock()
}

// leave ends the swarm, its rooms, and everything that enter began. It returns when all of it has ended.
func (l *lan) leave() {
	l.mu.Lock()
	stop, rooms := l.stop, l.rooms
	l.stop, l.swarm, l.rooms = nil, nil, make(map[piecehash.Root]*seat)
	l.mu.Unlock()
	for _, s := range rooms {
		l.closeSeat(s)
	}
	if stop != nil {
		stop()
	}
}

// name returns the group that the device is in, "" without a swarm.
func (l *lan) name() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.swarm == nil {
		return ""
	}
	return l.group
}

// layer asks the other devices for a piece layer.
func (l *lan) layer(ctx context.Context, c piecehash.Content) (*piecehash.Manifest, error) {
	l.mu.Lock()
	s := l.swarm
	l.mu.Unlock()
	if s == nil {
		return nil, fault.New(fault.Unavailable, "ask devices for the piece layer of %v: there are none", c.Root())
	}
	return s.Layer(ctx, c)
}

// serve shares what a holding has until drop or leave, which also close it. It takes the place of what was served of the
// same content; with the same holding it is a new room, for the next fetch to hear. The result is nil without a swarm,
// and then the holding is the caller's to close.
func (l *lan) serve(h closableHolding) *seat {
	root := h.Manifest().Root()
	l.vacate(root, h)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.swarm == nil {
		return nil
	}
	room, err := l.swarm.Join(h)
	if err != nil {
		l.log.Warn("content is not shared", slog.Any("err", err))
		return nil
	}
	s := &seat{Room: room, holding: h}
	l.rooms[root] = s
	return s
}

// serves reports whether the content is shared now.
func (l *lan) serves(root piecehash.Root) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rooms[root] != nil
}

// drop ends the sharing of content.
func (l *lan) drop(root piecehash.Root) { l.vacate(root, nil) }

// vacate ends the sharing of content, and closes its holding unless it is keep.
func (l *lan) vacate(root piecehash.Root, keep closableHolding) {
	l.mu.Lock()
	s := l.rooms[root]
	delete(l.rooms, root)
	l.mu.Unlock()
	switch {
	case s == nil:
	case s.holding == keep:
		_ = s.quit()
	default:
		l.closeSeat(s)
	}
}

// keepOnly drops everything that is not in roots.
func (l *lan) keepOnly(roots map[piecehash.Root]bool) {
	l.mu.Lock()
	var gone []piecehash.Root
	for root := range l.rooms {
		if !roots[root] {
			gone = append(gone, root)
		}
	}
	l.mu.Unlock()
	for _, root := range gone {
		l.drop(root)
	}
}

func (l *lan) closeSeat(s *seat) {
	if err := errors.Join(s.quit(), s.holding.Close()); err != nil {
		l.log.Warn("content was not put away well", slog.Any("err", err))
	}
}
