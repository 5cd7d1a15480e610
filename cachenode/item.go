package cachenode

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/piecehash"
)

// ErrUnknown is the error of content that neither the catalogue nor the store knows.
var ErrUnknown = errors.New("content is not known here")

// Item is content that the node may fetch and give away.
type Item struct {
	Manifest *piecehash.Manifest
	Name     string // for people; "" when nobody says
	// Origins are the URLs of the file, best first. Whoever keeps the catalogue has written them down: they may lead to
	// private networks, and to this machine where they say so literally.
	Origins []string
	// Hints are further URLs, tried after Origins, that somebody else named (a publisher's catalogue): they must lead to
	// public addresses.
	Hints []string
}

// Catalogue says what content there is. Its methods are safe for concurrent use.
type Catalogue interface {
	// Find returns what is known of content. The error is ErrUnknown; or of the kind fault.Refused when the content may
	// not be given away.
	Find(root piecehash.Root) (*Item, error)
	// Refresh looks whether there is something new, and returns what is to be had before anybody asks: the first first.
	Refresh(ctx context.Context) []piecehash.Root
}

// Expirer is what a Catalogue may be that holds for a time only.
type Expirer interface {
	// Expires returns when the approvals that it follows run out; the zero time while it has none.
	Expires() time.Time
}

// Holding is content that is there, in whole or in part. store.Partial and store.File are.
type Holding interface {
	Manifest() *piecehash.Manifest
	Bitmap() piecehash.Bitmap
	ReadPiece(i int, buf []byte) ([]byte, error)
}

// Swarm is what the node needs of the devices around it. Package swarm has the real one; cmd/dunlin hands it in and runs it.
type Swarm interface {
	// ID is this node's name among the devices.
	ID() fetch.PeerID
	// Join shares content, in whole or in part. The same content is joined once at a time.
	Join(h Holding) (Room, error)
	// Alone reports whether no device is connected, though there was time to find one: then nobody need be waited for.
	Alone() bool
}

// Room is one content shared with the members of the site. One that nobody hears just serves.
type Room interface {
	fetch.Site
	Close() error
}

// seat is a room that may have been heard, which then must be heard to its end. It implements fetch.Site for one fetch; it may
// be closed meanwhile.
type seat struct {
	Room

	mu    sync.Mutex
	heard <-chan fetch.Heard // guarded by mu; nil until somebody listens
}

// Hear implements fetch.Site.
func (s *seat) Hear() <-chan fetch.Heard {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = s.Room.Hear()
	return s.heard
}

// Close leaves the room and takes what it still says.
func (s *seat) Close() error {
	err := s.Room.Close()
	s.mu.Lock()
	heard := s.heard
	s.mu.Unlock()
	if heard != nil {
		for range heard {
		}
	}
	return err
}
