package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
)

func somePicture() fetch.View {
	return fetch.View{
		Sources: []fetch.Source{
			{ID: "12D3KooWabcdefgh", Role: "device", Bytes: 3 << 20, Rate: 1 << 20, Queue: 0.5, InFlight: 512 << 10, Standing: fetch.Busy, Left: 1.25},
			{ID: "short", Role: "cache", Standing: fetch.Nothing},
		},
		Origin: fetch.OriginView{
			By:   map[string]int64{"own": 2 << 20, "steal": 1 << 10, "timeout": 0, "no_peers": 0},
			Rate: 1 << 10, Streams: 1, Site: 2, Standing: fetch.Drawing,
		},
	}
}

// TestSourcesEvent is one object a line.
func TestSourcesEvent(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	(&eventView{out: &b}).sources(somePicture())
	var e struct {
		Event   string
		Sources []struct {
			Peer     string
			Standing string
			Queue    float64 `json:"queue_seconds"`
		}
		Origin struct {
			By map[string]int64 `json:"by_reason"`
		}
	}
	if err := json.Unmarshal(b.Bytes(), &e); err != nil || strings.Count(b.String(), "\n") != 1 {
		t.Fatalf("%q: %v", b.String(), err)
	}
	if e.Event != "sources" || len(e.Sources) != 2 || e.Sources[0].Peer != "12D3KooWabcdefgh" || e.Sources[0].Standing != "busy" ||
		e.Sources[0].Queue != 0.5 || e.Origin.By["own"] != 2<<20 {
		t.Errorf("%+v", e)
	}
}

func TestEveryNow(t *testing.T) {
	t.Parallel()
	shown := 0
	show := everyNow(time.Hour, func(fetch.View) { shown++ })
	show(fetch.View{})
	if show(fetch.View{Final: true}); shown != 1 {
		t.Errorf("%d pictures were shown, want the last alone", shown)
	}
}
