package cachehost

import (
	"time"
)

// State is how a node is, in a word.
type State string

// The states of a node.
const (
	Ready   State = "ready"   // nothing is against it, as far as is known
	Silent  State = "silent"  // it does not answer, and is looked at again after Node.Until
	Dropped State = "dropped" // it sent a wrong piece, and is not asked before Node.Until
)

// Node is what is known of a caching node.
type Node struct {
	URL    string    `json:"url"`
	Source Source    `json:"source"` // whose word it is known by: static, lan or depot
	State  State     `json:"state"`
	Until  time.Time `json:"until,omitzero"`
}

// List returns all nodes whose source is taken, in the order of their sources.
func (h *Hosts) List(now time.Time) []Node {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []Node
	for _, o := range h.all(now) {
		n := Node{URL: o.label(), Source: [...]Source{Static, LAN, Depot}[o.tier], State: Ready}
		switch {
		case h.isBanned(now, o):
			n.State, n.Until = Dropped, h.banned[banKey(o.tier, o.label())]
		case o.failures > 0:
			n.State, n.Until = Silent, o.until
		}
		out = append(out, n)
	}
	return out
}
