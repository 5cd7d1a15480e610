package page

import (
	"cmp"
	"slices"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/internal/history"
)

// What is shown at most; the rest is counted.
const (
	maxPeers     = 50
	maxItems     = 50
	maxTransfers = 8
	maxSources   = 12 // of one transfer
	maxDecisions = 30
	maxFacts     = 16
)

// Snapshot is all that the page shows, and what /data.json answers. Fields are only added.
type Snapshot struct {
	At        time.Time  `json:"at"`
	Kind      Kind       `json:"kind"`
	Name      string     `json:"name"`
	Version   string     `json:"version"`
	Facts     []Fact     `json:"facts"`
	Now       Rates      `json:"now"`
	Total     Sum        `json:"since_start"`
	Day       Sum        `json:"last_24_hours"`
	Month     Sum        `json:"last_30_days"`
	Minutes   []Bar      `json:"last_6_hours_by_5_minutes"`
	Days      []Bar      `json:"last_30_days_by_day"`
	Transfers []Transfer `json:"transfers"`
	Waiting   int        `json:"transfers_left_out,omitempty"`
	Peers     []PeerRow  `json:"peers"` // who moves most first
	Others    int        `json:"peers_left_out,omitempty"`
	Items     []Item     `json:"items"`
	Dropped   int        `json:"items_left_out,omitempty"`
	Decisions []Decision `json:"decisions"` // newest first
}

// Rates are bytes per second over the last three seconds.
type Rates struct {
	Origin  int64 `json:"from_origin"`
	Cache   int64 `json:"from_caches"`
	Peers   int64 `json:"from_devices"`
	Devices int64 `json:"to_devices"`
	HTTP    int64 `json:"by_http"`
}

// In is what arrives.
func (r Rates) In() int64 { return r.Origin + r.Cache + r.Peers }

// Out is what is sent.
func (r Rates) Out() int64 { return r.Devices + r.HTTP }

// Sum is bytes over some time.
type Sum struct {
	Origin  int64 `json:"from_origin"`
	Cache   int64 `json:"from_caches"`
	Peers   int64 `json:"from_devices"`
	Kept    int64 `json:"kept"`
	Ahead   int64 `json:"kept_ahead"`
	Devices int64 `json:"to_devices"`
	HTTP    int64 `json:"by_http"`
	Waste   int64 `json:"waste"`
	// Delivered is what saved is a share of: what a device has received and kept, what a node has given away. Content that a
	// node has fetched ahead is not delivered until somebody takes it.
	Delivered int64 `json:"delivered"`
	Saved     int64 `json:"saved"` // Delivered without what was drawn from the origin for it; below 0 when more was drawn
}

// In is what arrived.
func (s Sum) In() int64 { return s.Origin + s.Cache + s.Peers }

// Out is what was sent.
func (s Sum) Out() int64 { return s.Devices + s.HTTP }

func sumOf(a history.Amounts, k Kind) Sum {
	s := Sum{
		Origin: a[history.FromOrigin], Cache: a[history.FromCache], Peers: a[history.FromPeers],
		Kept: a[history.Kept], Ahead: a[history.Ahead], Devices: a[history.ToDevices], HTTP: a[history.ByHTTP],
		Waste: a[history.Waste],
	}
	s.Delivered = s.Kept
	if k == Node {
		s.Delivered = a.Given()
	}
	s.Saved = s.Delivered - s.Origin
	return s
}

// Bar is one bar of a chart.
type Bar struct {
	From time.Time `json:"from"`
	Sum
}

// PeerRow is one peer with its rates.
type PeerRow struct {
	ID       fetch.PeerID `json:"id"`
	Role     string       `json:"role"`
	Addr     string       `json:"addr"`
	Dialled  bool         `json:"dialled"`
	RTT      float64      `json:"rtt_seconds,omitempty"`
	Since    time.Time    `json:"since"`
	Received int64        `json:"received"`
	Sent     int64        `json:"sent"`
	In       int64        `json:"in_per_second"`
	Out      int64        `json:"out_per_second"`
}

// snapshot puts together how things stand.
func (p *Page) snapshot(now time.Time) Snapshot {
	look := p.subject.Look()
	p.mu.Lock()
	t := p.rates.traffic()
	p.mu.Unlock()
	s := Snapshot{
		At: now, Kind: look.Kind, Name: shortID(look.Name), Version: plain(look.Version),
		Now: Rates{
			Origin: t.rate[history.FromOrigin], Cache: t.rate[history.FromCache], Peers: t.rate[history.FromPeers],
			Devices: t.rate[history.ToDevices], HTTP: t.rate[history.ByHTTP],
		},
		Total:   sumOf(t.total, look.Kind),
		Minutes: p.minuteBars(now, look.Kind), Days: p.dayBars(now, look.Kind),
		Facts: firstOf(look.Facts, maxFacts), Decisions: firstOf(look.Decisions, maxDecisions),
		Transfers: firstOf(look.Transfers, maxTransfers), Waiting: max(0, len(look.Transfers)-maxTransfers),
		Items: firstOf(look.Items, maxItems), Dropped: look.Dropped + max(0, len(look.Items)-maxItems),
	}
	s.Day = sumOf(p.history.Hours(now.Add(-23*time.Hour), now.Add(time.Hour)), look.Kind)
	s.Month = sumOf(p.history.Hours(startOfDay(now).AddDate(0, 0, 1-barDays), now.Add(time.Hour)), look.Kind)
	s.Peers, s.Others = peerRows(t.peers)
	s.clean()
	return s
}

func firstOf[T any](all []T, most int) []T {
	return append([]T{}, all[:min(len(all), most)]...)
}

// clean makes all texts of others plain, in copies that are the snapshot's own.
func (s *Snapshot) clean() {
	for i, f := range s.Facts {
		s.Facts[i].Name, s.Facts[i].Value = plain(f.Name), plain(f.Value)
	}
	for i, t := range s.Transfers {
		s.Transfers[i].Name = plain(t.Name)
		if v := t.Sources; v != nil {
			short := *v
			short.Sources = firstOf(v.Sources, maxSources)
			for i, source := range short.Sources {
				short.Sources[i].ID = fetch.PeerID(plain(string(source.ID)))
			}
			for _, left := range v.Sources[len(short.Sources):] {
				short.Others += left.Bytes
			}
			s.Transfers[i].Sources = &short
		}
	}
	for i, it := range s.Items {
		s.Items[i].Name, s.Items[i].Title, s.Items[i].Version = plain(it.Name), plain(it.Title), plain(it.Version)
		s.Items[i].State, s.Items[i].Detail = plain(it.State), plain(it.Detail)
	}
	for i, d := range s.Decisions {
		s.Decisions[i].What, s.Decisions[i].Outcome, s.Decisions[i].Why = plain(d.What), plain(d.Outcome), plain(d.Why)
	}
}

// peerRows orders peers by what they move, then by what they have moved, and leaves out those beyond maxPeers.
func peerRows(all []peerTraffic) (rows []PeerRow, left int) {
	all = slices.SortedFunc(slices.Values(all), func(a, b peerTraffic) int {
		return cmp.Or(cmp.Compare(b.in+b.out, a.in+a.out), cmp.Compare(b.Received+b.Sent, a.Received+a.Sent), cmp.Compare(a.ID, b.ID))
	})
	rows = []PeerRow{}
	for _, p := range all[:min(len(all), maxPeers)] {
		role := "device"
		if p.Role == fetch.Cache {
			role = "cache node"
		}
		rows = append(rows, PeerRow{
			ID: fetch.PeerID(plain(string(p.ID))), Role: role, Addr: plain(p.Addr), Dialled: p.Dialled, RTT: p.RTT.Seconds(),
			Since: p.Since, Received: p.Received, Sent: p.Sent, In: p.in, Out: p.out,
		})
	}
	return rows, len(all) - len(rows)
}

// The bars of the two charts.
const (
	barMinutes = 5
	minuteBars = history.MinutesKept / barMinutes
	barDays    = 30
)

// minuteBars are the last six hours; the last bar is the one that grows.
func (p *Page) minuteBars(now time.Time, k Kind) []Bar {
	end := now.Truncate(barMinutes * time.Minute).Add(barMinutes * time.Minute)
	bars := make([]Bar, 0, minuteBars)
	for i := range minuteBars {
		from := end.Add(time.Duration(i-minuteBars) * barMinutes * time.Minute)
		bars = append(bars, Bar{from, sumOf(p.history.Minutes(from, from.Add(barMinutes*time.Minute)), k)})
	}
	return bars
}

// dayBars are the last days of the calendar, today the last. Where the zone is not whole hours from UTC, midnight is the
// nearest full hour of UTC before.
func (p *Page) dayBars(now time.Time, k Kind) []Bar {
	today := startOfDay(now)
	bars := make([]Bar, 0, barDays)
	for i := range barDays {
		from := today.AddDate(0, 0, i+1-barDays)
		bars = append(bars, Bar{from, sumOf(p.history.Hours(from, from.AddDate(0, 0, 1)), k)})
	}
	return bars
}

func startOfDay(t time.Time) time.Time {
	y, m, d := t.Date()
	return time.Date(y, m, d, 0, 0, 0, 0, t.Location())
}
