package cachehost

import (
	"context"
	"time"

	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/piecehash"
)

// Layer gets the piece layer of content from the first of the nodes that has it. The error is as that of httpfallback.FetchLayer.
func (h *Hosts) Layer(ctx context.Context, c piecehash.Content) (*piecehash.Manifest, error) {
	var bases []string
	for _, o := range h.order(time.Now(), c.Root()) {
		seen, err := h.look(ctx, o, c)
		if err != nil {
			return nil, err
		}
		if seen.has {
			bases = append(bases, h.base(o))
		}
	}
	return httpfallback.FetchLayer(ctx, h.gate, bases, c)
}
