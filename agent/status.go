package agent

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/httpfallback/cachehost"
	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/internal/page"
)

// State is what has become of an update on this device.
type State string

// The states of an update.
const (
	StateInstalled     State = "installed"      // it is, in this release
	StatePending       State = "pending"        // it is due and its turn comes in this cycle
	StateDownloading   State = "downloading"    // being fetched now
	StateInstalling    State = "installing"     // being verified and installed now
	StateWaiting       State = "waiting"        // approved, and its time has not come
	StateNotApproved   State = "not approved"   // the publisher has it, the organisation has not approved it for this ring
	StateNotApplicable State = "not applicable" // it is not for a device like this
	StateSuperseded    State = "superseded"     // something newer is installed or approved
	StateHeld          State = "held"           // the organisation wants nothing changed
	StateRefused       State = "refused"        // approved, and must not be acted on
	StateFailed        State = "failed"         // the last try did not succeed; a later cycle tries again
	StateRemoved       State = "removed"        // taken away, as approved
)

// States returns all states, for metrics that must show a zero.
func States() []State {
	return []State{
		StateInstalled, StatePending, StateDownloading, StateInstalling, StateWaiting, StateNotApproved, StateNotApplicable,
		StateSuperseded, StateHeld, StateRefused, StateFailed, StateRemoved,
	}
}

// Status is what the control socket answers and "dunlin status" shows. Its JSON form is stable: fields are only added.
type Status struct {
	Device  string           `json:"device"`           // DeviceID
	Version string           `json:"version"`          // of this program
	Ring    string           `json:"ring"`             // of this device
	Group   string           `json:"group,omitempty"`  // exchanged in; empty when sharing is off or nothing was synced yet
	Page    string           `json:"page,omitempty"`   // URL of its own page, while it is served
	Running bool             `json:"running"`          // false: this is the last word of an agent that has ended
	At      time.Time        `json:"at"`               // when this was said
	Next    time.Time        `json:"next,omitzero"`    // when the next cycle begins
	Cycle   *Cycle           `json:"cycle,omitempty"`  // the last, or the one that runs
	Caches  []cachehost.Node `json:"caches,omitempty"` // caching nodes that are asked by HTTP, as far as they are known
	Expires []Expiry         `json:"expires"`          // of the metadata, earliest first
	Updates []Update         `json:"updates"`          // by publisher, id and release
	Dropped int              `json:"dropped,omitzero"` // updates left out of Updates, because there are over a thousand
}

// Cycle is one round of asking, deciding and acting.
type Cycle struct {
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`    // zero while it runs
	Result  string    `json:"result"`            // "ok", "running", or the kind of the worst fault
	Sync    *Failure  `json:"sync,omitempty"`    // what went wrong with the metadata, also when work could go on
	Sharing *Failure  `json:"sharing,omitempty"` // what keeps this device from exchanging content with others
}

// Failure is an error for people and programs.
type Failure struct {
	Kind    string `json:"kind"` // a word of fault.Kind
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// failure returns nil for nil.
func failure(err error) *Failure {
	if err == nil {
		return nil
	}
	return &Failure{Kind: fault.Of(err).String(), Message: err.Error(), Hint: fault.Hint(err)}
}

// Expiry says until when a part of the metadata holds.
type Expiry struct {
	Role    string    `json:"role"` // "approvals", or "catalogue"
	Name    string    `json:"name,omitempty"`
	Expires time.Time `json:"expires"`
}

// Update is one update as this device sees it.
type Update struct {
	Publisher string    `json:"publisher"`
	ID        string    `json:"id"`
	Version   string    `json:"version"`
	Release   int64     `json:"release,omitzero"`
	Title     string    `json:"title,omitempty"`
	Action    string    `json:"action,omitempty"` // what the organisation wants: install, remove, hold
	State     State     `json:"state"`
	Reason    string    `json:"reason,omitempty"` // why it is in that state
	Error     *Failure  `json:"error,omitempty"`
	Transfer  *Transfer `json:"transfer,omitempty"` // the last, or the one that runs
	Reboot    bool      `json:"reboot,omitempty"`   // installed, and a reboot is needed
	Since     time.Time `json:"since,omitzero"`     // when it was installed, failed or removed
	SHA256    string    `json:"sha256,omitempty"`   // of the payload
}

// Transfer is where the bytes of one download came from.
type Transfer struct {
	Content int64      `json:"content"` // length of the payload
	Resumed int64      `json:"resumed"` // there already when it began
	From    fetch.From `json:"from"`    // what arrived, waste included
	Waste   int64      `json:"waste"`   // what arrived and was not needed
	Members int        `json:"members"` // devices of the site that took part
	Seconds float64    `json:"seconds"`
	// Sources is a picture of every source while the download runs, at most a second old.
	Sources *fetch.View `json:"sources,omitempty"`
}

// add makes several fetches of one job one transfer: a repair is paid for, too.
func (t *Transfer) add(s fetch.Stats) *Transfer {
	if t == nil {
		t = &Transfer{Resumed: s.Resumed}
	}
	sum := *t
	sum.Content = s.Content
	sum.From.Origin += s.From.Origin
	sum.From.Cache += s.From.Cache
	sum.From.Peers += s.From.Peers
	sum.Waste += s.Waste
	sum.Members = max(sum.Members, s.Members)
	sum.Seconds += s.Elapsed.Seconds()
	return &sum
}

// maxUpdates bounds what a status lists; a catalogue may hold far more that nobody has approved.
const maxUpdates = 1000

// board is the status of a running agent. The cycle writes it; the control socket, the metrics and the status file read.
type board struct {
	mu sync.Mutex // guards s
	s  Status
	// decided is what was decided lately, the newest last.
	decided []page.Decision
}

// change applies f to the status under the lock; f must neither block nor keep what it is given.
func (b *board) change(f func(*Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(&b.s)
}

// get returns a copy that shares nothing which is changed later: entries are replaced, never edited, see set.
func (b *board) get(now time.Time) Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.s
	s.At = now
	s.Updates = slices.Clone(s.Updates)
	if s.Cycle != nil {
		c := *s.Cycle
		s.Cycle = &c
	}
	return s
}

// set replaces or adds the entry of an update.
func (b *board) set(u Update) {
	b.change(func(s *Status) {
		i, found := slices.BinarySearchFunc(s.Updates, u, byName)
		if found {
			b.compare(&s.Updates[i], u)
			s.Updates[i] = u
			return
		}
		b.compare(nil, u)
		s.Updates = slices.Insert(s.Updates, i, u)
	})
}

// byName orders updates as people look for them.
func byName(a, b Update) int {
	return cmp.Or(strings.Compare(a.Publisher, b.Publisher), strings.Compare(a.ID, b.ID),
		cmp.Compare(a.Release, b.Release), strings.Compare(a.Version, b.Version))
}

// list replaces all entries, keeping to maxUpdates: what is not approved goes first.
func (b *board) list(updates []Update) {
	dropped := 0
	if len(updates) > maxUpdates {
		slices.SortStableFunc(updates, func(x, y Update) int {
			return cmp.Compare(rankOf(x.State), rankOf(y.State))
		})
		dropped = len(updates) - maxUpdates
		updates = updates[:maxUpdates]
	}
	slices.SortFunc(updates, byName)
	b.change(func(s *Status) {
		b.compareAll(s.Updates, updates)
		s.Updates, s.Dropped = updates, dropped
	})
}

func rankOf(s State) int {
	switch s {
	case StateNotApplicable:
		return 2
	case StateNotApproved:
		return 1
	default:
		return 0
	}
}

// saveStatus keeps a status for when the agent does not run.
func saveStatus(dir stateDir, s Status) error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("save status: %w", err)
	}
	if err := durable.WriteFile(dir.status(), b, statusMode); err != nil {
		return fmt.Errorf("save status: %w", err)
	}
	return nil
}

// ReadStatus returns the last status that the agent with the given state folder has left. The error of none is
// fs.ErrNotExist.
func ReadStatus(dir string) (Status, error) {
	b, err := readBounded(stateDir(dir).status(), maxStatus)
	if err != nil {
		return Status{}, fmt.Errorf("read status: %w", err)
	}
	var s Status
	if err := json.Unmarshal(b, &s); err != nil {
		return Status{}, fault.WithHint(fmt.Errorf("read status: %s is damaged: %w", stateDir(dir).status(), err),
			"it is written anew with the next cycle: dunlin agent run --once")
	}
	s.Running, s.Page = false, ""
	return s, nil
}
