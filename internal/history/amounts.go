package history

// Kind is what bytes are counted as.
type Kind uint8

// The kinds. Received bytes are counted as they arrive, waste included (fetch.Stats).
const (
	FromOrigin Kind = iota // received from HTTP origins
	FromCache              // received from LAN caching nodes
	FromPeers              // received from other devices
	Kept                   // received, checked and stored
	Ahead                  // of Kept, what was fetched before anybody asked
	ToDevices              // sent to other devices and to nodes
	ByHTTP                 // sent by HTTP
	Waste                  // received and not needed
	kinds      = 8
)

// Amounts are bytes by their kind.
type Amounts [kinds]int64

// Received is all that arrived.
func (a Amounts) Received() int64 { return a[FromOrigin] + a[FromCache] + a[FromPeers] }

// Given is all that was sent.
func (a Amounts) Given() int64 { return a[ToDevices] + a[ByHTTP] }

func (a Amounts) plus(b Amounts) Amounts {
	for i := range a {
		a[i] += b[i]
	}
	return a
}

// since returns what has come since the counters stood at last. One that stands lower has begun anew.
func (a Amounts) since(last Amounts) Amounts {
	for i := range a {
		if a[i] >= last[i] {
			a[i] -= last[i]
		}
	}
	return a
}
