package cachenode

import (
	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/piecehash"
)

// Event is something that happened to content: it is being fetched, it is stored, or it could not be fetched.
type Event struct {
	Event   string         `json:"event"` // "fetching", "stored" or "failed"
	Root    piecehash.Root `json:"root"`
	Name    string         `json:"name,omitempty"`
	Bytes   int64          `json:"bytes"` // length of the content
	Resumed int64          `json:"resumed,omitempty"`
	Seconds float64        `json:"seconds,omitempty"`
	From    *fetch.From    `json:"from,omitempty"` // nil while nothing has been asked for
	Waste   int64          `json:"waste,omitempty"`
	Error   string         `json:"error,omitempty"`
}

// The words of Event.Event.
const (
	Fetching = "fetching"
	Stored   = "stored"
	Failed   = "failed"
)

func (n *Node) tell(e Event) {
	if n.cfg.Tell == nil {
		return
	}
	n.telling.Lock()
	defer n.telling.Unlock()
	n.cfg.Tell(e)
}
