package agent

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/piecehash"
)

// noon is when the plans of these tests are made.
func noon() time.Time { return time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC) }

// offered makes a candidate of acme with the given id and release; its version is "vN" and its payload follows from both.
func offered(id string, release int64, change ...func(*metadata.Update, *metadata.Approval)) candidate {
	u := &metadata.Update{
		Publisher: "acme", ID: id, Version: fmt.Sprint("v", release), Release: release, Handler: metadata.HandlerFile,
		Released: noon().Add(time.Duration(release) * time.Minute),
	}
	a := &metadata.Approval{Action: metadata.ActionInstall, ShareBP: metadata.FullShare, Peering: true}
	for _, f := range change {
		f(u, a)
	}
	t := &metadata.Target{Path: metadata.CataloguePath(id, u.Version), SHA256: sumOf(id, release), Update: u}
	return candidate{key: metadata.Key{Publisher: "acme", ID: id}, target: t, approval: a}
}

func sumOf(id string, release int64) piecehash.Hash {
	var h piecehash.Hash
	copy(h[:], fmt.Sprint(id, release))
	return h
}

func needs(id string, release int64) func(*metadata.Update, *metadata.Approval) {
	return func(u *metadata.Update, _ *metadata.Approval) {
		u.Requires = append(u.Requires, metadata.Requirement{ID: id, Version: fmt.Sprint("v", release), SHA256: sumOf(id, release)})
	}
}

func replacing(ids ...string) func(*metadata.Update, *metadata.Approval) {
	return func(u *metadata.Update, _ *metadata.Approval) { u.Supersedes = ids }
}

func approvedAs(f func(*metadata.Approval)) func(*metadata.Update, *metadata.Approval) {
	return func(_ *metadata.Update, a *metadata.Approval) { f(a) }
}

func severity(s metadata.Severity) func(*metadata.Update, *metadata.Approval) {
	return func(u *metadata.Update, _ *metadata.Approval) { u.Severity = s }
}

// having makes an inventory of "id release".
func having(entries ...string) map[metadata.Key]installed {
	m := make(map[metadata.Key]installed)
	for _, e := range entries {
		var id string
		var release int64
		if _, err := fmt.Sscan(e, &id, &release); err != nil {
			panic(err)
		}
		m[metadata.Key{Publisher: "acme", ID: id}] = installed{version: fmt.Sprint("v", release), release: release, sha256: sumOf(id, release)}
	}
	return m
}

func held(id string) metadata.Directive {
	return metadata.Directive{Key: metadata.Key{Publisher: "acme", ID: id}, Approval: &metadata.Approval{Action: metadata.ActionHold}}
}

// planned runs plan on a survey whose catalogue holds all that is offered and more.
func planned(s survey, more ...candidate) decision {
	s.targets = make(map[metadata.Key][]*metadata.Target)
	for _, c := range append(slices.Clone(s.candidates), more...) {
		s.targets[c.key] = append(s.targets[c.key], c.target)
	}
	if s.applies == nil {
		s.applies = func(u *metadata.Update) (bool, string) {
			return !strings.HasPrefix(u.ID, "win"), "it is for another system"
		}
	}
	return plan(s, policy{device: "d", handlers: []string{metadata.HandlerFile}}, noon())
}

func jobNames(d decision) string {
	var out []string
	for _, j := range d.jobs {
		out = append(out, j.Key.ID+" "+j.Update.Version)
	}
	return strings.Join(out, ", ")
}

func states(d decision) string {
	var out []string
	for _, u := range d.updates {
		out = append(out, fmt.Sprintf("%s %s %s", u.ID, u.Version, u.State))
	}
	return strings.Join(out, ", ")
}

func TestPlan(t *testing.T) {
	t.Parallel()
	type offers = []candidate
	downgrade := approvedAs(func(a *metadata.Approval) { a.Downgrade = true })
	later := approvedAs(func(a *metadata.Approval) { a.NotBefore = noon().Add(time.Second) })
	now := approvedAs(func(a *metadata.Approval) { a.NotBefore = noon() })
	nobody := approvedAs(func(a *metadata.Approval) { a.ShareBP = 0 })
	exec := func(u *metadata.Update, _ *metadata.Approval) { u.Handler = metadata.HandlerExec }
	checked := func(u *metadata.Update, _ *metadata.Approval) {
		u.Health = &metadata.HealthCheck{Command: []string{"/bin/true"}}
	}
	for name, c := range map[string]struct {
		s      survey
		more   []candidate // in the catalogue, not approved
		jobs   string
		states string
	}{
		"nothing": {},
		"new":     {survey{candidates: offers{offered("a", 1)}}, nil, "a v1", "a v1 pending"},
		"there":   {survey{candidates: offers{offered("a", 1)}, installed: having("a 1")}, nil, "", "a v1 installed"},
		"newer":   {survey{candidates: offers{offered("a", 2)}, installed: having("a 1")}, nil, "a v2", "a v1 installed, a v2 pending"},
		"older":   {survey{candidates: offers{offered("a", 1)}, installed: having("a 2")}, nil, "", "a v1 superseded, a v2 installed"},
		"older, as a downgrade": {
			survey{candidates: offers{offered("a", 1, downgrade)}, installed: having("a 2")},
			nil,
			"a v1", "a v1 pending, a v2 installed",
		},
		"a downgrade beside the newer one": {
			survey{candidates: offers{offered("a", 1, downgrade), offered("a", 2)}, installed: having("a 2")},
			nil,
			"", "a v1 superseded, a v2 installed",
		},
		"the newest of several": {
			survey{candidates: offers{offered("a", 9), offered("a", 10), offered("a", 2)}},
			nil,
			"a v10", "a v2 superseded, a v9 superseded, a v10 pending",
		},
		"two of one release": {
			survey{candidates: offers{offered("a", 1), offered("a", 1, func(u *metadata.Update, _ *metadata.Approval) { u.Version = "v1b" })}},
			nil,
			"a v1", "a v1 pending, a v1b superseded",
		},
		"same release, other payload": {
			survey{candidates: offers{offered("a", 1)}, installed: map[metadata.Key]installed{{Publisher: "acme", ID: "a"}: {"v1", 1, piecehash.Hash{9}, time.Time{}, false}}},
			nil,
			"a v1", "a v1 pending, a v1 installed", // the installer's floor refuses it, and says why
		},
		"not yet":              {survey{candidates: offers{offered("a", 1, later)}}, nil, "", "a v1 waiting"},
		"to the second":        {survey{candidates: offers{offered("a", 1, now)}}, nil, "a v1", "a v1 pending"},
		"next week's and this": {survey{candidates: offers{offered("a", 1), offered("a", 2, later)}}, nil, "a v1", "a v1 pending, a v2 waiting"},
		"nobody's turn":        {survey{candidates: offers{offered("a", 1, nobody)}}, nil, "", "a v1 waiting"},
		"for others":           {survey{candidates: offers{offered("win", 1)}}, nil, "", "win v1 not applicable"},
		"health check":         {survey{candidates: offers{offered("a", 1, checked)}}, nil, "", "a v1 refused"},
		"handler":              {survey{candidates: offers{offered("a", 1, exec)}}, nil, "", "a v1 refused"},
		"handler, for later":   {survey{candidates: offers{offered("a", 1, exec, later)}}, nil, "", "a v1 waiting"},
		"a bad newest does not keep the good one away": {
			survey{candidates: offers{offered("a", 1), offered("a", 2, exec)}}, nil, "a v1", "a v1 pending, a v2 refused",
		},
		"held":          {survey{candidates: offers{offered("a", 2)}, holds: []metadata.Directive{held("a")}, installed: having("a 1")}, nil, "", "a v1 installed, a v2 held"},
		"held and new":  {survey{holds: []metadata.Directive{held("a")}}, offers{offered("a", 1)}, "", "a v1 held"},
		"held, another": {survey{candidates: offers{offered("b", 1)}, holds: []metadata.Directive{held("a")}}, nil, "b v1", "b v1 pending"},
		"superseded": {
			survey{candidates: offers{offered("old", 9), offered("suite", 1, replacing("old"))}},
			nil,
			"suite v1", "old v9 superseded, suite v1 pending",
		},
		"superseded by what is installed": {
			survey{candidates: offers{offered("old", 9)}, installed: having("suite 1")},
			offers{offered("suite", 1, replacing("old"))},
			"", "old v9 superseded, suite v1 installed",
		},
		"not superseded by what is for others": {
			survey{candidates: offers{offered("old", 9), offered("winsuite", 1, replacing("old"))}},
			nil,
			"old v9", "old v9 pending, winsuite v1 not applicable",
		},
		"not superseded by what comes later": {
			survey{candidates: offers{offered("old", 9), offered("suite", 1, replacing("old"), later)}},
			nil,
			"old v9", "old v9 pending, suite v1 waiting",
		},
		"not superseded by what nobody has approved": {
			survey{candidates: offers{offered("old", 9)}},
			offers{offered("suite", 1, replacing("old"))},
			"old v9", "old v9 pending, suite v1 not approved",
		},
		"two that supersede each other": {
			survey{candidates: offers{offered("a", 1, replacing("b")), offered("b", 2, replacing("a"))}},
			nil,
			"b v2", "a v1 superseded, b v2 pending",
		},
		"what is needed comes first": {
			survey{candidates: offers{offered("a", 1, needs("b", 1)), offered("b", 1, needs("c", 1)), offered("c", 1)}},
			nil,
			"c v1, b v1, a v1", "a v1 pending, b v1 pending, c v1 pending",
		},
		"what is needed is there": {
			survey{candidates: offers{offered("a", 1, needs("b", 1))}, installed: having("b 1")},
			nil,
			"a v1", "a v1 pending, b v1 installed",
		},
		"what is needed is there in a later release": {
			survey{candidates: offers{offered("a", 1, needs("b", 1))}, installed: having("b 3")},
			offers{offered("b", 1), offered("b", 3)},
			"a v1", "a v1 pending, b v3 installed",
		},
		"what is needed comes in a later release": {
			survey{candidates: offers{offered("a", 1, needs("b", 1)), offered("b", 3)}},
			offers{offered("b", 1)},
			"b v3, a v1", "a v1 pending, b v3 pending",
		},
		"what is there is too old": {
			survey{candidates: offers{offered("a", 1, needs("b", 2))}, installed: having("b 1")},
			offers{offered("b", 1), offered("b", 2)},
			"", "a v1 waiting, b v1 installed, b v2 not approved",
		},
		"what is needed has another payload": {
			survey{candidates: offers{offered("a", 1, needs("b", 2)), offered("b", 7)}},
			nil,
			"b v7", "a v1 waiting, b v7 pending",
		},
		"what is needed must wait itself": {
			survey{candidates: offers{offered("a", 1, needs("b", 1)), offered("b", 1, needs("c", 1))}},
			nil,
			"", "a v1 waiting, b v1 waiting",
		},
		"a circle": {
			survey{candidates: offers{offered("a", 1, needs("b", 1)), offered("b", 1, needs("a", 1)), offered("c", 1)}},
			nil,
			"c v1", "a v1 waiting, b v1 waiting, c v1 pending",
		},
		"itself": {survey{candidates: offers{offered("a", 1, needs("a", 1))}}, nil, "", "a v1 waiting"},
		"urgent ones first": {
			survey{candidates: offers{
				offered("e", 1), offered("d", 1, severity(metadata.SeverityLow)), offered("c", 1, severity(metadata.SeverityCritical)),
				offered("b", 1, severity(metadata.SeverityImportant)),
				offered("z", 1, approvedAs(func(a *metadata.Approval) { a.Deadline = noon() })),
				offered("f", 1, approvedAs(func(a *metadata.Approval) { a.Deadline = noon().Add(time.Hour) })),
			}},
			nil,
			"z v1, c v1, b v1, d v1, e v1, f v1", "b v1 pending, c v1 pending, d v1 pending, e v1 pending, f v1 pending, z v1 pending",
		},
		"not approved, the newest only": {
			survey{installed: having("a 2")},
			offers{offered("a", 1), offered("a", 2), offered("a", 3), offered("a", 4), offered("win", 1), offered("b", 1)},
			"", "a v2 installed, a v4 not approved, b v1 not approved",
		},
		"gone from the catalogue": {survey{installed: having("a 2")}, nil, "", "a v2 installed"},
	} {
		d := planned(c.s, c.more...)
		if got := jobNames(d); got != c.jobs {
			t.Errorf("%s: jobs %q, want %q", name, got, c.jobs)
		}
		if got := states(d); got != c.states {
			t.Errorf("%s: %s\nwant %s", name, got, c.states)
		}
		for _, u := range d.updates {
			explained := u.Reason != "" || u.Error != nil
			if obvious := u.State == StateInstalled || u.State == StatePending || u.State == StateNotApproved; !obvious && !explained {
				t.Errorf("%s: %s is %s, and nobody says why", name, u.ID, u.State)
			}
		}
	}
}

// TestPlanIsTheSameWhateverTheOrder: maps and the order of offers must not show.
func TestPlanIsTheSameWhateverTheOrder(t *testing.T) {
	t.Parallel()
	all := []candidate{
		offered("a", 1, needs("b", 1)), offered("b", 1), offered("c", 3, replacing("d")), offered("d", 1), offered("e", 1), offered("e", 2),
		offered("f", 1, severity(metadata.SeverityCritical)), offered("win", 1),
	}
	want := planned(survey{candidates: all, installed: having("x 1", "y 2", "z 3")})
	for i := range len(all) {
		turned := append(slices.Clone(all[i:]), all[:i]...)
		got := planned(survey{candidates: turned, installed: having("z 3", "y 2", "x 1")})
		if jobNames(got) != jobNames(want) || states(got) != states(want) {
			t.Errorf("turned by %d: %s; %s", i, jobNames(got), states(got))
		}
	}
}

func TestRefusalsDecideTheExitCode(t *testing.T) {
	t.Parallel()
	bad := fault.New(fault.Untrusted, "two hashes")
	d := planned(survey{
		candidates: []candidate{offered("a", 1, func(u *metadata.Update, _ *metadata.Approval) { u.Handler = "dance" }), offered("b", 1)},
		refusals:   []metadata.Refusal{{Key: metadata.Key{Publisher: "acme", ID: "c"}, Version: "1", Err: bad}},
	})
	if len(d.refused) != 2 || fault.Of(worstOf(d.refused)) != fault.Untrusted || jobNames(d) != "b v1" {
		t.Errorf("%v, jobs %s", d.refused, jobNames(d))
	}
	if got := states(d); got != "a v1 refused, b v1 pending, c 1 refused" {
		t.Error(got)
	}
}

func TestRemovals(t *testing.T) {
	t.Parallel()
	order := metadata.Directive{Key: metadata.Key{Publisher: "acme", ID: "a"}, Version: "v1", SHA256: sumOf("a", 1)}
	for name, c := range map[string]struct {
		have   map[metadata.Key]installed
		holds  []metadata.Directive
		states string
		errs   int
	}{
		"is there":     {having("a 1"), nil, "a v1 refused", 1},
		"is gone":      {nil, nil, "a v1 removed", 0},
		"is a newer":   {having("a 2"), nil, "a v1 removed, a v2 installed", 0},
		"held as well": {having("a 1"), []metadata.Directive{held("a")}, "a v1 held", 0},
	} {
		d := planned(survey{removals: []metadata.Directive{order}, installed: c.have, holds: c.holds})
		if states(d) != c.states || len(d.refused) != c.errs {
			t.Errorf("%s: %s, %v", name, states(d), d.refused)
		}
	}
}

func TestShare(t *testing.T) {
	t.Parallel()
	key := metadata.Key{Publisher: "acme", ID: "app"}
	const devices = 4000
	in := make(map[int]int)
	for i := range devices {
		device, before := fmt.Sprint(i), false
		for _, bp := range []int{0, 1, 100, 2500, 5000, metadata.FullShare} {
			now := inShare(device, key, "1.0", bp)
			if before && !now {
				t.Fatalf("device %d falls out when the share grows to %d", i, bp)
			}
			if now {
				in[bp]++
			}
			before = now
		}
	}
	if in[0] != 0 || in[metadata.FullShare] != devices {
		t.Errorf("%d at nothing, %d at everything", in[0], in[metadata.FullShare])
	}
	if n := in[2500]; n < devices/4*9/10 || n > devices/4*11/10 {
		t.Errorf("%d of %d devices at a quarter", n, devices)
	}
	same := 0
	for i := range devices {
		if inShare(fmt.Sprint(i), key, "1.0", 2500) && inShare(fmt.Sprint(i), key, "1.1", 2500) {
			same++
		}
	}
	if same > devices/16*13/10 {
		t.Errorf("%d of %d devices go first in both of two updates", same, devices)
	}
}

func TestWorstOf(t *testing.T) {
	t.Parallel()
	gone, bad, policy := fault.New(fault.Unavailable, "gone"), fault.WithHint(fault.New(fault.Untrusted, "bad"), "look"), fault.New(fault.Refused, "policy")
	if worstOf(nil) != nil || worstOf([]error{nil, nil}) != nil {
		t.Error("nothing is an error")
	}
	if err := worstOf([]error{nil, gone}); err != gone {
		t.Errorf("one alone is changed to %v", err)
	}
	err := worstOf([]error{gone, bad, nil, policy})
	if fault.Of(err) != fault.Untrusted || fault.Hint(err) != "look" || !strings.HasPrefix(err.Error(), "bad (and more") {
		t.Errorf("%v", err)
	}
	if err := worstOf([]error{gone, policy}); fault.Of(err) != fault.Refused || !strings.Contains(err.Error(), "one more") {
		t.Errorf("%v", err)
	}
}
