package agent

import (
	"context"

	"golang.org/x/time/rate"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/metadata"
)

type action = metadata.Action

const (
	actionInstall = metadata.ActionInstall
	actionRemove  = metadata.ActionRemove
)

type work struct {
	offer  metadata.Offer
	view   *metadata.View
	client layerSource
}

func (w *work) progress(fetch.Stats) {}
func (w *work) arrived(fetch.Stats)  {}

func (a *Agent) cycle(ctx context.Context) error { return nil }

var _ rate.Limiter
