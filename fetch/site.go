package fetch

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/dunlin-project/dunlin/piecehash"
)

// PeerID names a device for as long as its key lives. On the wire it is a libp2p peer id in its text form.
type PeerID string

// Role says what a member is; it decides only under which word its bytes are counted.
type Role uint8

// The roles of a member.
const (
	Device Role = iota // another agent
	Cache              // a LAN caching node
)

// Reason says why a byte was asked of the origin (design, section 6, rule 6). Without it a site that pays twice shows only a
// sum, and nobody can tell a slow owner from a dead one or from a network without multicast.
type Reason uint8

// The reasons.
const (
	Own     Reason = iota // this device claimed the span in its turn
	Steal                 // the claimer is too slow
	Timeout               // the claimer's lease ended, or the LAN failed to deliver what it holds
	NoPeers               // there is nobody else
)

var reasonWords = [...]string{"own", "steal", "timeout", "no_peers"}

// String is the reason's word in logs and metrics.
func (r Reason) String() string {
	if int(r) < len(reasonWords) {
		return reasonWords[r]
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

// Reasons returns all reasons, for metrics that must show a zero.
func Reasons() []Reason { return []Reason{Own, Steal, Timeout, NoPeers} }

// Sink takes what a source delivers. Its methods are safe for concurrent use.
type Sink interface {
	// Progress counts n payload bytes that arrived, whether or not they complete a piece. It may block: that is how a
	// rate limit reaches the source.
	Progress(ctx context.Context, n int)
	// Piece hands over piece i. b stays the source's and is only read until Piece returns. An error means that the
	// bytes did not check out (a *piecehash.Mismatch) or could not be stored: the source stops and returns it.
	Piece(i int, b []byte) error
}

// Peer is a member of the site as a source. Package fetchtest has its conformance test.
type Peer interface {
	// Fetch gets piece i, reports it to sink and returns. The error is a *BusyError when the peer says "later",
	// ErrAbsent when it does not have the piece, the sink's error unchanged, or any other for a broken link. When ctx
	// ends, Fetch tells the peer not to send (any more) and returns.
	Fetch(ctx context.Context, i int, sink Sink) error
}

// Origin is the HTTP origin as a source. It fetches what it is told and never decides. Package fetchtest has its
// conformance test.
type Origin interface {
	// Fetch gets count pieces from first on with one range request (more only to resume after a break) and hands each
	// to sink as soon as it is complete. Every payload byte that arrived was reported to sink.Progress, also when an
	// error is returned. The error is the sink's unchanged, or has a fault kind.
	Fetch(ctx context.Context, first, count int, why Reason, sink Sink) error
}

// Site is what a fetch says to, and hears from, the devices that share the content. Package swarm has the real one,
// fetchtest one in memory.
type Site interface {
	// Say tells every member, as soon as the links allow, and does not block. Pieces may be said to be had only when
	// they are stored and checked.
	Say(Saying)
	// Hear returns the channel of events. It is called once; the members there are come first. The channel is closed
	// when the site ends; until then the caller must go on reading.
	Hear() <-chan Heard
}

// Saying is one of SayHave, SayClaim and SayRelease.
type Saying interface{ saying() }

// SayHave says that pieces First to First+Count-1 are stored and served from now on. Drawn means that they came from the
// origin: first copies of the site. Members pass the word on to those that have no link to this device (rule 8).
type SayHave struct {
	First, Count int
	Drawn        bool
}

// SayClaim says "I am fetching this span from the origin". It is said again with each progress; that keeps the lease.
type SayClaim struct {
	First, Count int   // in pieces
	Rate         int64 // bytes per second of this device's origin traffic for the content; 0 while unknown
	Done         int64 // bytes of the span that have arrived
}

// SayRelease takes a claim back: the span was not, or not wholly, fetched.
type SayRelease struct{ First, Count int }

func (SayHave) saying()    {}
func (SayClaim) saying()   {}
func (SayRelease) saying() {}

// Heard is one of Noticed, Answered, Joined, Left, Crowd and Said.
type Heard interface{ heard() }

// Noticed means that discovery has found somebody, or a link is being made or asked: it pays to wait a moment. With an
// ID it says who, so that devices that start together know their ranks before their links are up; without one it is sent
// before the first Joined only.
type Noticed struct{ ID PeerID }

// Crowd means that the site has at least Size members of whom this device has links to some only (rule 8); 0 takes it back.
// Nobody sees more than two hops and those whose words come by, so it is a lower bound.
type Crowd struct{ Size int }

// Answered means that everybody noticed so far has answered, or could not be reached, and none of them shares the
// content: nobody is left to wait for. Sent after Noticed and before the first Joined only; another Noticed may follow.
type Answered struct{}

// Joined means that a member has said what it has. A member that joins again replaces its former self.
type Joined struct {
	ID   PeerID
	Role Role
	Have piecehash.Bitmap // owned by the receiver
	Peer Peer
	RTT  time.Duration // of the link, 0 while unknown
	Addr netip.Addr    // of the link's other end, without a zone; the zero value while unknown
}

// Left means that the member's link is gone, or it no longer shares the content. Its claims end with it.
type Left struct{ ID PeerID }

// Said is something that a member said. Relayed means that it came through other members (rule 8): who said it may have no
// link to this device, and then only its claims and its first copies are known. Otherwise a member that has not joined is
// not heard.
type Said struct {
	ID      PeerID
	Relayed bool
	What    Saying
}

func (Noticed) heard()  {}
func (Answered) heard() {}
func (Joined) heard()   {}
func (Left) heard()     {}
func (Crowd) heard()    {}
func (Said) heard()     {}

// BusyError is a peer's answer "not now".
type BusyError struct{ RetryAfter time.Duration }

func (e *BusyError) Error() string { return fmt.Sprintf("peer is busy for %v", e.RetryAfter) }

// ErrAbsent is a peer's answer that it does not have the piece.
var ErrAbsent = errors.New("peer does not have the piece")
