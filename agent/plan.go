package agent

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/member"
	"github.com/dunlin-project/dunlin/piecehash"
)

// Job is one update to install.
type Job struct {
	Key    metadata.Key
	Update *metadata.Update
	Offer  metadata.Offer // the proof that publisher and organisation agree on it
	After  []metadata.Key // jobs of the same plan that must have succeeded before
}

// installed is what is in place of one update.
type installed struct {
	version string
	release int64
	sha256  piecehash.Hash
	when    time.Time
	reboot  bool // is needed, or was
}

// candidate is an update that is offered to this device.
type candidate struct {
	offer    metadata.Offer // only the Job needs it
	key      metadata.Key
	target   *metadata.Target
	approval *metadata.Approval
}

// survey is all that plan decides on. It is taken from a View (see surveyOf), which nobody can make in a table of tests.
type survey struct {
	candidates []candidate
	holds      []metadata.Directive
	removals   []metadata.Directive
	refusals   []metadata.Refusal
	targets    map[metadata.Key][]*metadata.Target // all that the catalogues hold
	installed  map[metadata.Key]installed
	// applies says whether an update is for a device like this, and why not.
	applies func(*metadata.Update) (ok bool, why string)
}

func surveyOf(view *metadata.View, ring string, have map[metadata.Key]installed, rules *metadata.Rules) survey {
	s := survey{
		holds: view.Holds(ring), removals: view.Removals(ring), refusals: view.Refusals(ring),
		targets: make(map[metadata.Key][]*metadata.Target), installed: have, applies: rules.Applies,
	}
	for _, o := range view.Offers(ring) {
		s.candidates = append(s.candidates, candidate{o, o.Key(), o.Target(), o.Approval()})
	}
	for _, c := range view.Catalogues() {
		for _, t := range c.Targets() {
			key := metadata.Key{Publisher: c.Publisher(), ID: t.Update.ID}
			s.targets[key] = append(s.targets[key], t)
		}
	}
	return s
}

// policy is what the device itself has to say.
type policy struct {
	device   string // DeviceID: its place in a rollout hangs on it
	handlers []string
}

// decision is what plan returns.
type decision struct {
	jobs    []Job    // in the order in which they are to be done
	updates []Update // every update there is to say something about, those of jobs included
	refused []error  // what must not be acted on although it is approved; decides the exit code with the jobs
}

// plan decides what to do. It is pure: the same survey, policy and time give the same jobs in the same order.
func plan(s survey, p policy, now time.Time) decision {
	s.applies = remembered(s.applies)
	pl := planner{survey: s, policy: p, now: now}
	pl.wanted = pl.newest()
	for _, c := range s.candidates {
		pl.judge(c)
	}
	pl.judgeRemovals()
	pl.order()
	pl.tellRefusals()
	pl.tellInstalled()
	pl.tellNotApproved()
	slices.SortFunc(pl.out.updates, byName)
	return pl.out
}

// remembered asks once for each update: a rule is compiled anew each time that it is asked.
func remembered(applies func(*metadata.Update) (bool, string)) func(*metadata.Update) (bool, string) {
	type answer struct {
		ok  bool
		why string
	}
	given := make(map[*metadata.Update]answer)
	return func(u *metadata.Update) (bool, string) {
		a, ok := given[u]
		if !ok {
			a.ok, a.why = applies(u)
			given[u] = a
		}
		return a.ok, a.why
	}
}

type planner struct {
	survey
	policy
	now    time.Time
	wanted map[metadata.Key]candidate // of each update the newest that this device may have now
	out    decision
}

// verdict is a reason not to install a candidate. The zero value is none.
type verdict struct {
	state State
	why   string
	err   error
}

// rule gives one reason.
type rule func(candidate) verdict

// first returns the first reason of several, or none.
func first(c candidate, rules ...rule) verdict {
	for _, r := range rules {
		if v := r(c); v.state != "" {
			return v
		}
	}
	return verdict{}
}

// newest leaves out what this device may not have (yet), or an approval for next week would keep this week's from it.
func (pl *planner) newest() map[metadata.Key]candidate {
	m := make(map[metadata.Key]candidate)
	for _, c := range pl.candidates {
		if first(c, pl.held, pl.notForThisDevice, pl.older, pl.notYet, pl.notAllowed).state != "" {
			continue
		}
		if w, ok := m[c.key]; !ok || c.target.Update.Release > w.target.Update.Release {
			m[c.key] = c
		}
	}
	return m
}

// judge makes a job of a candidate, or says why not. What needs nobody to do anything comes before what does.
func (pl *planner) judge(c candidate) {
	u := c.target.Update
	if have, ok := pl.installed[c.key]; ok && have.release == u.Release && have.sha256 == c.target.SHA256 {
		pl.tell(c, verdict{state: StateInstalled})
		return
	}
	v := first(c, pl.held, pl.notForThisDevice, pl.older, pl.outdated, pl.superseded, pl.notYet, pl.notAllowed)
	if v.state == "" {
		v.state = StatePending
		pl.out.jobs = append(pl.out.jobs, Job{Key: c.key, Update: u, Offer: c.offer})
	}
	pl.tell(c, v)
}

func (pl *planner) held(c candidate) verdict {
	for _, h := range pl.holds {
		if h.Key == c.key {
			return verdict{state: StateHeld, why: "the organisation wants nothing changed"}
		}
	}
	return verdict{}
}

func (pl *planner) notForThisDevice(c candidate) verdict {
	if ok, why := pl.applies(c.target.Update); !ok {
		return verdict{state: StateNotApplicable, why: why}
	}
	return verdict{}
}

// older: what is installed is newer. How far down one may go all the same is for the installer to say, which has the floor.
func (pl *planner) older(c candidate) verdict {
	have, ok := pl.installed[c.key]
	if ok && have.release > c.target.Update.Release && !c.approval.Downgrade {
		return verdict{state: StateSuperseded, why: have.version + " is installed, which is newer, and this is not approved as a downgrade"}
	}
	return verdict{}
}

func (pl *planner) outdated(c candidate) verdict {
	if w, ok := pl.wanted[c.key]; ok && w.target != c.target && w.target.Update.Release >= c.target.Update.Release {
		return verdict{state: StateSuperseded, why: w.target.Update.Version + " is approved, too"}
	}
	return verdict{}
}

// superseded: another update of the publisher takes this one's place, and is approved or installed.
func (pl *planner) superseded(c candidate) verdict {
	u := c.target.Update
	for key, w := range pl.wanted {
		if key != c.key && outranks(w.target.Update, u) {
			return verdict{state: StateSuperseded, why: key.ID + " " + w.target.Update.Version + " takes its place"}
		}
	}
	for key, have := range pl.installed {
		for _, t := range pl.targets[key] {
			if key != c.key && t.SHA256 == have.sha256 && outranks(t.Update, u) {
				return verdict{state: StateSuperseded, why: key.ID + " " + have.version + " has taken its place"}
			}
		}
	}
	return verdict{}
}

// outranks: two that supersede each other are a publisher's mistake; then the one that was released later stays.
func outranks(w, u *metadata.Update) bool {
	return w.Replaces(u) && (!u.Replaces(w) || cmp.Or(w.Released.Compare(u.Released), cmp.Compare(w.ID, u.ID)) > 0)
}

func (pl *planner) notAllowed(c candidate) verdict {
	u := c.target.Update
	for _, h := range u.Needs() {
		if slices.Contains(pl.handlers, h) {
			continue
		}
		what := "the handler " + h
		if h != u.Handler {
			what += ", which its health check needs"
		}
		return verdict{state: StateRefused, err: fault.WithHint(
			fault.New(fault.Refused, "install %s %s: this device does not allow %s", u.ID, u.Version, what),
			"if it should, add it to handlers in the agent's configuration, or install a newer agent")}
	}
	return verdict{}
}

func (pl *planner) notYet(c candidate) verdict {
	if t := c.approval.NotBefore; pl.now.Before(t) {
		return verdict{state: StateWaiting, why: "not before " + t.Format(time.RFC3339)}
	}
	if bp := c.approval.ShareBP; !inShare(pl.device, c.key, c.target.Update.Version, bp) {
		return verdict{state: StateWaiting, why: fmt.Sprintf("it is rolled out to %d.%02d %% of the devices, and this is not one of them yet", bp/100, bp%100)}
	}
	return verdict{}
}

// inShare decides whether a device is among the first bp basis points of a rollout. A device that is in stays in when the
// share grows; which devices come first differs from update to update.
func inShare(device string, key metadata.Key, version string, bp int) bool {
	place := member.StableHash("share", device, key.Publisher, key.ID, version) % metadata.FullShare
	return place < uint64(max(0, bp))
}

// judgeRemovals says what is to go. This version cannot take an update away yet, and says so rather than do nothing.
func (pl *planner) judgeRemovals() {
	for _, d := range pl.removals {
		u := Update{Publisher: d.Key.Publisher, ID: d.Key.ID, Version: d.Version, Action: string(metadata.ActionRemove), SHA256: d.SHA256.String()}
		have, ok := pl.installed[d.Key]
		switch v := pl.held(candidate{key: d.Key}); {
		case !ok || have.sha256 != d.SHA256: // a release that came after it is another thing
			u.State = StateRemoved
		case v.state != "":
			u.State, u.Reason = v.state, v.why
		default:
			err := fault.WithHint(fault.New(fault.Refused, "remove %s %s: this agent cannot remove updates", d.Key.ID, d.Version),
				"a newer agent is needed: update dunlin on this machine")
			u.State, u.Release, u.Error = StateRefused, have.release, failure(err)
			pl.out.refused = append(pl.out.refused, err)
		}
		pl.out.updates = append(pl.out.updates, u)
	}
}

func (pl *planner) tell(c candidate, v verdict) {
	u := updateOf(c.key, c.target, metadata.ActionInstall, v.state, v.why)
	if v.err != nil {
		u.Error = failure(v.err)
		pl.out.refused = append(pl.out.refused, v.err)
	}
	if v.state == StateInstalled {
		u.Since, u.Reboot = pl.installed[c.key].when, pl.installed[c.key].reboot
	}
	pl.out.updates = append(pl.out.updates, u)
}

func (pl *planner) retell(j Job, state State, why string) {
	for i, u := range pl.out.updates {
		if u.Publisher == j.Key.Publisher && u.ID == j.Key.ID && u.State == StatePending {
			pl.out.updates[i].State, pl.out.updates[i].Reason = state, why
		}
	}
}

func updateOf(key metadata.Key, t *metadata.Target, action metadata.Action, state State, why string) Update {
	return Update{
		Publisher: key.Publisher, ID: key.ID, Version: t.Update.Version, Release: t.Update.Release, Title: t.Update.Title,
		Action: string(action), State: state, Reason: why, SHA256: t.SHA256.String(),
	}
}

func (pl *planner) tellRefusals() {
	for _, r := range pl.refusals {
		pl.out.refused = append(pl.out.refused, r.Err)
		pl.out.updates = append(pl.out.updates, Update{
			Publisher: r.Key.Publisher, ID: r.Key.ID, Version: r.Version, State: StateRefused, Error: failure(r.Err),
		})
	}
}

// tellInstalled says what is installed and neither offered nor to be removed (any more).
func (pl *planner) tellInstalled() {
	for key, have := range pl.installed {
		told := slices.ContainsFunc(pl.out.updates, func(u Update) bool {
			return u.Publisher == key.Publisher && u.ID == key.ID && u.SHA256 == have.sha256.String()
		})
		if !told {
			u := Update{
				Publisher: key.Publisher, ID: key.ID, Version: have.version, Release: have.release,
				State: StateInstalled, SHA256: have.sha256.String(), Since: have.when, Reboot: have.reboot,
			}
			u.Reason = pl.held(candidate{key: key}).why
			pl.out.updates = append(pl.out.updates, u)
		}
	}
}

// tellNotApproved says of each update what the newest release is, if it would be for this device and nobody has said
// anything about it.
func (pl *planner) tellNotApproved() {
	type version struct {
		key     metadata.Key
		version string
	}
	told := make(map[version]bool)
	for _, u := range pl.out.updates {
		told[version{metadata.Key{Publisher: u.Publisher, ID: u.ID}, u.Version}] = true
	}
	for key, targets := range pl.targets {
		t := slices.MaxFunc(targets, func(a, b *metadata.Target) int {
			return cmp.Compare(a.Update.Release, b.Update.Release)
		})
		if have, ok := pl.installed[key]; ok && have.release >= t.Update.Release || told[version{key, t.Update.Version}] {
			continue
		}
		if ok, _ := pl.applies(t.Update); !ok {
			continue
		}
		u := updateOf(key, t, "", StateNotApproved, "")
		if v := pl.held(candidate{key: key}); v.state != "" {
			u.State, u.Reason = v.state, v.why
		}
		pl.out.updates = append(pl.out.updates, u)
	}
}

// String names a job in logs and messages.
func (j Job) String() string { return j.Key.Publisher + "/" + j.Key.ID + " " + j.Update.Version }
