package cachenode

import (
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/piecehash"
)

// Event is something that happened to content: its fetch begins, goes on (told about once a second), has stored it or failed.
type Event struct {
	Event   string         `json:"event"` // one of the words below
	Root    piecehash.Root `json:"root"`
	Name    string         `json:"name,omitempty"`
	Bytes   int64          `json:"bytes"`             // length of the content
	Have    int64          `json:"have,omitempty"`    // of it
	Resumed int64          `json:"resumed,omitempty"` // of it, from an earlier run
	Seconds float64        `json:"seconds,omitempty"`
	From    *fetch.From    `json:"from,omitempty"` // nil while nothing has been asked for
	Waste   int64          `json:"waste,omitempty"`
	Ahead   bool           `json:"ahead,omitempty"` // nobody has asked for it
	Error   string         `json:"error,omitempty"`
}

// The words of Event.Event.
const (
	Fetching = "fetching"
	Progress = "progress"
	Stored   = "stored"
	Failed   = "failed"
)

func (n *Node) tell(e Event) {
	n.watch.hear(time.Now(), e)
	if n.cfg.Tell == nil {
		return
	}
	n.telling.Lock()
	defer n.telling.Unlock()
	n.cfg.Tell(e)
}
