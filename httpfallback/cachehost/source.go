package cachehost

import (
	"slices"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// Source says whose word about caching nodes is taken.
type Source string

// The sources. Of several nodes those that the device's settings name are asked first, then those near by, then the
// organisation's: its list may name nodes of other sites.
const (
	Auto   Source = "auto"   // all of them; also the zero value
	Static Source = "static" // only what the settings of this device name
	LAN    Source = "lan"    // only what announces itself on the local network
	Depot  Source = "depot"  // only what the organisation has signed
	Off    Source = "off"    // nobody's: no node is asked by HTTP
)

// ParseSource takes one of the words; "" is Auto.
func ParseSource(s string) (Source, error) {
	if s == "" {
		return Auto, nil
	}
	if all := []Source{Auto, Static, LAN, Depot, Off}; !slices.Contains(all, Source(s)) {
		return Off, fault.New(fault.Usage, "%.40q is none of auto, static, lan, depot and off", s)
	}
	return Source(s), nil
}

// Has reports whether the word of one source is taken.
func (s Source) Has(one Source) bool { return s == one || s == Auto || s == "" }
