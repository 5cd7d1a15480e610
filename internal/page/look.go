package page

import (
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/internal/history"
)

// Subject is whom a page is about. Its methods are safe for concurrent use and return what nobody changes later.
type Subject interface {
	// Counters says how much has come and gone since the process began. It is asked once a second while somebody looks.
	Counters() Counters
	// Look says everything else. It is asked when somebody looks.
	Look() Look
}

// Kind is what sort of machine a page is about.
type Kind string

// The kinds.
const (
	Device Kind = "device"
	Node   Kind = "cache node"
)

// Counters are what has come and gone since the process began.
type Counters struct {
	Total history.Amounts
	Peers []Peer // those that are connected now
}

// Peer is a device or a node that is connected.
type Peer struct {
	ID       fetch.PeerID
	Role     fetch.Role
	Addr     string        // HOST:PORT of its end
	Dialled  bool          // by this machine
	RTT      time.Duration // 0 while unknown
	Since    time.Time     // the connection stands
	Received int64         // payload bytes from it, over this connection
	Sent     int64         // payload bytes to it, over this connection
}

// Look is how things stand.
type Look struct {
	Kind      Kind
	Name      string // of this machine; of a long one the end is shown, as of a peer's
	Version   string // of the program
	Facts     []Fact
	Transfers []Transfer // that run now
	Items     []Item     // updates of a device, content of a node; those that matter most first
	Dropped   int        // items that are not among them
	Decisions []Decision // newest first
}

// Fact is one thing to know about the machine.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Bad   bool   `json:"bad,omitempty"` // somebody should look into it
}

// Transfer is one content on its way to this machine.
type Transfer struct {
	Name    string     `json:"name"`
	Length  int64      `json:"length"`  // bytes
	Have    int64      `json:"have"`    // of them
	From    fetch.From `json:"from"`    // what arrived; what is on its way looks like waste, so that is not told apart
	Seconds float64    `json:"seconds"` // since it began
	// Sources says why each source is asked for no more; nil before it is known.
	Sources *fetch.View `json:"sources,omitempty"`
}

// Item is an update, or content.
type Item struct {
	Name    string    `json:"name"`
	Title   string    `json:"title,omitempty"`
	Version string    `json:"version,omitempty"`
	State   string    `json:"state"`
	Bad     bool      `json:"bad,omitempty"` // somebody should look into it
	Detail  string    `json:"detail,omitempty"`
	Length  int64     `json:"length,omitempty"` // bytes; 0 when unknown
	Since   time.Time `json:"since,omitzero"`   // when it came to be so
}

// Decision is something that was decided, or came of it.
type Decision struct {
	At      time.Time `json:"at"`
	What    string    `json:"what"`    // about what
	Outcome string    `json:"outcome"` // in a word or two
	Why     string    `json:"why,omitempty"`
	Bad     bool      `json:"bad,omitempty"`
}
