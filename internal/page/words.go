package page

import (
	"fmt"

	"github.com/dunlin-project/dunlin/fetch"
)

// why says in a sentence what a standing means (docs/operations.md has the same).
func why(s fetch.Standing) string {
	switch s {
	case fetch.Ready:
		return "nothing is against it, it is asked next"
	case fetch.WindowSet:
		return "as much is asked of it as its link moves soon"
	case fetch.AllAsked:
		return "as much is asked over all links as this machine takes in"
	case fetch.Elsewhere:
		return "what it has and this machine lacks is on its way already"
	case fetch.Slower:
		return "another holder of the same pieces is free and over three times as quick"
	case fetch.Nothing:
		return "it has nothing that this machine lacks"
	case fetch.Busy:
		return "it has said “later”"
	case fetch.Paused:
		return "it failed to deliver, and is left alone for a while"
	case fetch.Gone:
		return "its link has ended"
	case fetch.Liar:
		return "banned: it sent a bad piece"
	}
	return whyOrigin(s)
}

func whyOrigin(s fetch.Standing) string {
	switch s {
	case fetch.NoOrigin:
		return "there is none, or this machine may not use it"
	case fetch.Drawing:
		return "drawing: ranges of it are on their way"
	case fetch.DeadOrigin:
		return "it cannot or must not serve this content"
	case fetch.BackedOff:
		return "it failed, and is left alone for a while"
	case fetch.Delayed:
		return "policy gives other devices time to deliver"
	case fetch.Listening:
		return "others are given a moment to say what they have"
	case fetch.InDebt:
		return "this machine passes on too slowly what it drew, or draws far slower than another"
	case fetch.OnLAN:
		return "the site has what is missing"
	case fetch.Claimed:
		return "others are fetching what is missing"
	case fetch.NotItsTurn:
		return "the site’s streams are others’"
	}
	return plain(string(s))
}

// leftText is how much longer a standing lasts, "" when nobody knows.
func leftText(seconds float64) string {
	if seconds <= 0 {
		return ""
	}
	return fmt.Sprintf(", %.1f s more", seconds)
}

// say is what a screen reader is told when it changes: what begins and what ends, and no figure.
func (s Snapshot) say() string {
	switch n := len(s.Transfers) + s.Waiting; n {
	case 0:
		if s.Now.Out() > 0 {
			return "Nothing is being fetched. This " + string(s.Kind) + " gives to others."
		}
		return "Nothing is moving."
	case 1:
		return "Fetching " + s.Transfers[0].Name + "."
	default:
		return fmt.Sprintf("Fetching %d contents.", n)
	}
}
