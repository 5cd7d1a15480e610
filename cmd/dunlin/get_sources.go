package main

import (
	"time"

	"github.com/dunlin-project/dunlin/fetch"
)

// sourcesEvery is how often -v shows the sources while the file is fetched.
const sourcesEvery = 10 * time.Second

// sourceView shows where a file comes from. The views of get are that, too.
type sourceView interface {
	sources(v fetch.View)
}

// everyNow lets through the last picture, and one in each interval before.
func everyNow(interval time.Duration, show func(fetch.View)) func(fetch.View) {
	last := time.Now()
	return func(v fetch.View) {
		if now := time.Now(); v.Final || now.Sub(last) >= interval {
			last = now
			show(v)
		}
	}
}

func (v *eventView) sources(s fetch.View) {
	_ = printJSON(v.out, struct { // a reader that went away is noticed at the end
		Event string `json:"event"`
		fetch.View
	}{"sources", s})
}

func (v *lineView) sources(s fetch.View) { _ = s.Write(v.err) }

func (v *barView) sources(s fetch.View) {
	v.close() // the next progress draws it again, below
	v.lineView.sources(s)
}
