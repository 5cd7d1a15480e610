package agent

import (
	"cmp"
	"slices"

	"github.com/dunlin-project/dunlin/metadata"
)

// order puts urgent jobs first and what others need before them. A job whose needs nothing can meet is taken out.
func (pl *planner) order() {
	slices.SortStableFunc(pl.out.jobs, func(a, b Job) int {
		return cmp.Or(cmp.Compare(pl.urgency(a), pl.urgency(b)), cmp.Compare(a.Key.Publisher, b.Key.Publisher), cmp.Compare(a.Key.ID, b.Key.ID))
	})
	var done []Job
	state := make(map[metadata.Key]visit)
	for _, j := range pl.out.jobs {
		done = pl.place(j, state, done)
	}
	pl.out.jobs = done
}

// visit is how far place has come with an update.
type visit int

const (
	unseen visit = iota
	open         // it is being placed: to meet it again is a circle
	placed
	barred
)

// place appends a job, after the jobs that it needs.
func (pl *planner) place(j Job, state map[metadata.Key]visit, done []Job) []Job {
	if state[j.Key] != unseen {
		return done
	}
	state[j.Key] = open
	for _, r := range j.Update.Requires {
		if pl.met(j.Key.Publisher, r) {
			continue
		}
		need := metadata.Key{Publisher: j.Key.Publisher, ID: r.ID}
		if k := pl.jobFor(need, r); k != nil {
			done = pl.place(*k, state, done)
			j.After = append(j.After, need)
		}
		if state[need] != placed {
			state[j.Key] = barred
			pl.retell(j, StateWaiting, "it needs "+r.ID+" "+r.Version+", which is not installed and not about to be")
			return done
		}
	}
	state[j.Key] = placed
	return append(done, j)
}

// met reports whether a requirement is met by what is installed: by the very payload, or by a later release of it.
func (pl *planner) met(publisher string, r metadata.Requirement) bool {
	key := metadata.Key{Publisher: publisher, ID: r.ID}
	have, ok := pl.installed[key]
	return ok && (have.sha256 == r.SHA256 || pl.releaseOf(key, r) > 0 && have.release > pl.releaseOf(key, r))
}

// jobFor returns the job that will meet a requirement, or nil.
func (pl *planner) jobFor(key metadata.Key, r metadata.Requirement) *Job {
	for _, j := range pl.out.jobs {
		if j.Key != key {
			continue
		}
		w := pl.wanted[key].target
		if w.SHA256 == r.SHA256 || pl.releaseOf(key, r) > 0 && w.Update.Release > pl.releaseOf(key, r) {
			return &j
		}
	}
	return nil
}

// releaseOf returns the release of what is required, as its catalogue says; 0 when it has no such payload.
func (pl *planner) releaseOf(key metadata.Key, r metadata.Requirement) int64 {
	for _, t := range pl.targets[key] {
		if t.Update.Version == r.Version && t.SHA256 == r.SHA256 {
			return t.Update.Release
		}
	}
	return 0
}

// urgency orders jobs: deadlines that have passed, then by severity.
func (pl *planner) urgency(j Job) int {
	if d := pl.wanted[j.Key].approval.Deadline; !d.IsZero() && !pl.now.Before(d) {
		return 0
	}
	return 1 + slices.Index([]metadata.Severity{
		metadata.SeverityCritical, metadata.SeverityImportant, metadata.SeverityModerate, metadata.SeverityLow, "",
	}, j.Update.Severity)
}
