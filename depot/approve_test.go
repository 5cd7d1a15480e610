package depot

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/metadata/repository"
)

func TestApproveGivesDevicesUpdateAndContent(t *testing.T) {
	t.Parallel()
	for _, served := range []bool{false, true} {
		v := newVendor(t, "acme")
		if served {
			v.serve(t)
		}
		payload := randomBytes(100_000)
		root := v.release(t, "app", "1.0", 1, payload, nil)
		d := newDepot(t, v)
		if _, err := syncAll(t, d); err != nil {
			t.Fatal(err)
		}
		if got := offered(t, d, "pilot"); len(got) != 0 {
			t.Errorf("before: %v", got)
		}
		r, err := approve(t.Context(), d, "acme/app@1.0", "pilot")
		if err != nil {
			t.Fatal(err)
		}
		from := map[bool]string{false: "folder", true: "http"}[served]
		if r.Content.From != from || r.Content.Fetched != int64(len(payload)) || r.Content.Root != root || r.Warning != "" {
			t.Errorf("served %v: %+v", served, r.Content)
		}
		served, err := os.ReadFile(d.at.public(contentDir, root.String()))
		if err != nil || !bytes.Equal(served, payload) {
			t.Errorf("content: %v", err)
		}
		layer, err := os.ReadFile(d.at.public(layerDir, root.String()))
		if err != nil || !bytes.Equal(layer, v.get(t, "layer/"+root.String())) {
			t.Errorf("layer: %v", err)
		}
		if got := offered(t, d, "pilot"); !slices.Equal(got, []string{"app@1.0"}) {
			t.Errorf("pilot: %v", got)
		}
		if got := offered(t, d, "broad"); len(got) != 0 {
			t.Errorf("broad: %v", got)
		}
		checkModes(t, string(d.at))
		if left, _ := os.ReadDir(d.at.path("incoming")); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
		r, err = approve(t.Context(), d, "acme/app@1.0", "broad")
		if err != nil || r.Content.Fetched != 0 || r.Content.Resumed != int64(len(payload)) {
			t.Errorf("for the next ring: %+v %v", r, err)
		}
	}
}

func TestApproveSignsItsConditions(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	v.release(t, "app", "1.0", 1, randomBytes(100), nil)
	d := newDepot(t, v)
	share := 500
	begin := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	_, err := d.Approve(t.Context(), ApproveRequest{
		Update: "acme/app@1.0", Rings: []string{"pilot"}, NotBefore: begin.In(time.FixedZone("x", 3600)), Deadline: begin.Add(time.Hour + time.Millisecond),
		ShareBP: &share, NoPeering: true, Downgrade: true,
	}, time.Now(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	offers := deviceView(t, d, "pilot").Offers("pilot")
	if len(offers) != 1 {
		t.Fatal("no offer")
	}
	a := offers[0].Approval()
	if a.ShareBP != 500 || !a.NotBefore.Equal(begin) || !a.Deadline.Equal(begin.Add(time.Hour)) || a.Peering || !a.Downgrade || a.Action != metadata.ActionInstall {
		t.Errorf("%+v", a)
	}
	list, err := d.List(ListRequest{Rings: []string{"pilot"}})
	if err != nil || len(list.Approved) != 1 || list.Approved[0].ShareBP != 500 || list.Approved[0].SHA256 != offers[0].Target().SHA256 {
		t.Errorf("%+v %v", list, err)
	}
}

func TestApproveRefusals(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	v.release(t, "app", "1.0", 1, randomBytes(100), nil)
	v.release(t, "app", "1.1", 2, randomBytes(100), nil)
	v.release(t, "tool", "7", 1, randomBytes(100), func(u *metadata.Update, _ *repository.Target) { u.Destination = "/optional/tool" })
	v.release(t, "run", "1", 1, randomBytes(100), func(u *metadata.Update, _ *repository.Target) { u.Handler, u.Destination = metadata.HandlerExec, "" })
	v.release(t, "tree", "1", 1, randomBytes(100), func(u *metadata.Update, _ *repository.Target) {
		u.Handler, u.Destination, u.Uncompressed = metadata.HandlerTree, "/srv/app", 100
	})
	v.release(t, "checked", "1", 1, randomBytes(100), func(u *metadata.Update, _ *repository.Target) {
		u.Health = &metadata.HealthCheck{Command: []string{"/bin/sh", "-c", "id"}}
	})
	v.release(t, "other-key", "1", 1, randomBytes(100), func(u *metadata.Update, _ *repository.Target) { u.Signature.KeyID = "0123456789ABCDEF" })
	v.release(t, "newer", "1", 1, randomBytes(100), nil)
	custom := []byte(`{"v1":{"crit":["from_the_future"]}}`)
	_, err := v.repo.Update(t.Context(), time.Now(), v.signers, func(e *repository.Edit) error {
		old, _ := e.Target(repository.RoleTargets, "newer/1")
		old.Custom = custom
		return e.SetTarget(repository.RoleTargets, "newer/1", old)
	})
	if err != nil {
		t.Fatal(err)
	}
	c := testConfig(t, v)
	c.Publishers[0].Handlers, c.Publishers[0].Destinations = []string{"file", "tree"}, []string{"/opt", "/srv/app"}
	if _, err := Init(t.Context(), c, time.Now()); err != nil {
		t.Fatal(err)
	}
	d, err := Open(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for name, c := range map[string]struct {
		r    ApproveRequest
		kind fault.Kind
		says string
	}{
		"not there":         {ApproveRequest{Update: "acme/app@2.0", Rings: []string{"pilot"}}, fault.Refused, "acme/app@1.1, acme/app@1.0"},
		"no such id":        {ApproveRequest{Update: "acme/apps@1.0", Rings: []string{"pilot"}}, fault.Refused, "acme/tool@7"},
		"no such publisher": {ApproveRequest{Update: "globex/app@1.0", Rings: []string{"pilot"}}, fault.Refused, "acme"},
		"no such ring":      {ApproveRequest{Update: "acme/app@1.0", Rings: []string{"pilot", "none"}}, fault.Refused, "pilot, broad"},
		"no ring":           {ApproveRequest{Update: "acme/app@1.0"}, fault.Usage, "pilot, broad"},
		"no update":         {ApproveRequest{Rings: []string{"pilot"}}, fault.Usage, "acme/browser@1.4.2"},
		"no version":        {ApproveRequest{Update: "acme/app", Rings: []string{"pilot"}}, fault.Usage, ""},
		"dots":              {ApproveRequest{Update: "acme/../x@1", Rings: []string{"pilot"}}, fault.Usage, ""},
		"escape":            {ApproveRequest{Update: "acme/a\x1b[31m@1", Rings: []string{"pilot"}}, fault.Usage, ""},
		"action":            {ApproveRequest{Update: "acme/app@1.0", Rings: []string{"pilot"}, Action: "delete"}, fault.Usage, ""},
		"share":             {ApproveRequest{Update: "acme/app@1.0", Rings: []string{"pilot"}, ShareBP: pointer(10_001)}, fault.Usage, ""},
		"deadline":          {ApproveRequest{Update: "acme/app@1.0", Rings: []string{"pilot"}, NotBefore: now, Deadline: now.Add(-time.Hour)}, fault.Usage, ""},
		"removal":           {ApproveRequest{Update: "acme/app@1.0", Rings: []string{"pilot"}, Action: metadata.ActionRemove}, fault.Refused, "hold"},
		"destination":       {ApproveRequest{Update: "acme/tool@7", Rings: []string{"pilot"}}, fault.Refused, "--dest"},
		"handler":           {ApproveRequest{Update: "acme/run@1", Rings: []string{"pilot"}}, fault.Refused, "--handler"},
		"beside it":         {ApproveRequest{Update: "acme/tree@1", Rings: []string{"pilot"}}, fault.Refused, "--dest"},
		"health check":      {ApproveRequest{Update: "acme/checked@1", Rings: []string{"pilot"}}, fault.Refused, "--handler"},
		"payload key":       {ApproveRequest{Update: "acme/other-key@1", Rings: []string{"pilot"}}, fault.Refused, "new trust file"},
		"crit":              {ApproveRequest{Update: "acme/newer@1", Rings: []string{"pilot"}}, fault.Refused, "newer agent"},
	} {
		_, err := d.Approve(t.Context(), c.r, now, quiet)
		if !fault.Is(err, c.kind) || !strings.Contains(fault.Hint(err), c.says) || strings.ContainsRune(fmt.Sprint(err), 0x1b) {
			t.Errorf("%s: %v (%v; %s)", name, err, fault.Of(err), fault.Hint(err))
		}
	}
	if list, err := d.List(ListRequest{}); err != nil || len(list.Approved) != 0 {
		t.Errorf("approved all the same: %+v %v", list, err)
	}
	if left, _ := os.ReadDir(d.at.public(contentDir)); len(left) != 0 {
		t.Errorf("content of what was refused: %v", left)
	}
	if _, err := d.List(ListRequest{Rings: []string{"none"}}); !fault.Is(err, fault.Refused) {
		t.Errorf("list no ring: %v", err)
	}
}

func pointer[T any](v T) *T { return &v }

func TestHoldAndRemoveNeedNoContent(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	v.release(t, "app", "1.0", 1, randomBytes(100), func(u *metadata.Update, _ *repository.Target) { u.Removable = &metadata.Removal{} })
	d := newDepot(t, v)
	for _, a := range []metadata.Action{metadata.ActionHold, metadata.ActionRemove} {
		r, err := d.Approve(t.Context(), ApproveRequest{Update: "acme/app@1.0", Rings: []string{"pilot"}, Action: a}, time.Now(), quiet)
		if err != nil || r.Content != nil {
			t.Fatalf("%s: %+v %v", a, r, err)
		}
	}
	if got := deviceView(t, d, "pilot"); len(got.Removals("pilot")) != 1 || len(got.Offers("pilot")) != 0 {
		t.Errorf("removals %v", got.Removals("pilot"))
	}
}

func TestUnapproveTakesItFromTheNextVersion(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	v.release(t, "app", "1.0", 1, randomBytes(100), nil)
	d := newDepot(t, v)
	if _, err := approve(t.Context(), d, "acme/app@1.0", "pilot", "broad"); err != nil {
		t.Fatal(err)
	}
	before, _ := d.repo.View()
	r, err := d.Unapprove(t.Context(), UnapproveRequest{Update: "acme/app@1.0", Rings: []string{"broad"}}, time.Now())
	if err != nil || !slices.Equal(r.Rings, []string{"broad"}) {
		t.Fatalf("%+v %v", r, err)
	}
	after, _ := d.repo.View()
	was, _ := before.Role("ring-broad")
	is, _ := after.Role("ring-broad")
	if is.Version != was.Version+1 || len(offered(t, d, "broad")) != 0 || len(offered(t, d, "pilot")) != 1 {
		t.Errorf("version %d after %d", is.Version, was.Version)
	}
	if _, err := d.Unapprove(t.Context(), UnapproveRequest{Update: "acme/app@1.0", Rings: []string{"broad"}}, time.Now()); !fault.Is(err, fault.Refused) {
		t.Errorf("again: %v", err)
	}
	if r, err := d.Unapprove(t.Context(), UnapproveRequest{Update: "acme/app@1.0"}, time.Now()); err != nil || !slices.Equal(r.Rings, []string{"pilot"}) {
		t.Errorf("wherever: %+v %v", r, err)
	}
	if _, err := d.Unapprove(t.Context(), UnapproveRequest{Update: "acme/app@1.0", Rings: []string{"none"}}, time.Now()); !fault.Is(err, fault.Refused) {
		t.Errorf("no ring: %v", err)
	}
	if _, err := d.Unapprove(t.Context(), UnapproveRequest{Update: "nonsense"}, time.Now()); !fault.Is(err, fault.Usage) {
		t.Errorf("nonsense: %v", err)
	}
}

func TestConcurrentApprovalsAllStand(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	const n = 6
	for i := range n {
		v.release(t, fmt.Sprintf("app%d", i), "1.0", 1, randomBytes(20_000), nil)
	}
	d := newDepot(t, v)
	again, err := Open(Config{Dir: string(d.at)})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range n {
		for _, ring := range d.Rings() {
			wg.Go(func() {
				who := []*Depot{d, again}[i%2]
				if _, err := approve(t.Context(), who, fmt.Sprintf("acme/app%d@1.0", i), ring); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	for _, ring := range d.Rings() {
		if got := offered(t, d, ring); len(got) != n {
			t.Errorf("%s: %v", ring, got)
		}
	}
}

// cutting lets some bytes through, then calls cut and stalls nobody.
func TestApproveGoesOnWithoutThePublisher(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	v.serve(t)
	v.release(t, "app", "1.0", 1, randomBytes(100_000), nil)
	d := newDepot(t, v)
	if _, err := approve(t.Context(), d, "acme/app@1.0", "pilot"); err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int32
	v.during(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		asked.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
	}, func() {
		r, err := approve(t.Context(), d, "acme/app@1.0", "broad")
		if err != nil || r.Warning == "" || asked.Load() == 0 {
			t.Errorf("%+v %v", r, err)
		}
		if _, err := approve(t.Context(), d, "acme/app@2.0", "broad"); !fault.Is(err, fault.Refused) && !fault.Is(err, fault.Unavailable) {
			t.Errorf("what is not known: %v", err)
		}
	})
	if got := offered(t, d, "broad"); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

func TestNothingIsApprovedFromACatalogueThatRanOut(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	v.release(t, "app", "1.0", 1, randomBytes(100), nil)
	d := newDepot(t, v)
	later := time.Now().Add(40 * 24 * time.Hour)
	r := ApproveRequest{Update: "acme/app@1.0", Rings: []string{"pilot"}}
	if _, err := d.Approve(t.Context(), r, later, quiet); err == nil || fault.Of(err) == fault.Internal {
		t.Errorf("install: %v", err)
	}
	r.Action = metadata.ActionHold
	if _, err := d.Approve(t.Context(), r, later, quiet); err != nil {
		t.Errorf("hold: %v", err)
	}
}
