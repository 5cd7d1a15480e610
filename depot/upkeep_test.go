package depot

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-project/dunlin/metadata/repository"
)

func role(t *testing.T, d *Depot, name string) repository.RoleStatus {
	t.Helper()
	view, err := d.repo.View()
	if err != nil {
		t.Fatal(err)
	}
	s, ok := view.Role(name)
	if !ok {
		t.Fatalf("no role %s", name)
	}
	return s
}

func TestSignaturesAreRenewedAtHalfLife(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	now := time.Now()
	life := repository.ApprovalsLifetimes()
	if r, err := d.resign(t.Context(), now.Add(life.Timestamp/2-time.Hour)); err != nil || len(r.Signed) != 0 {
		t.Errorf("before half life: %+v %v", r.Signed, err)
	}
	r, err := d.resign(t.Context(), now.Add(life.Timestamp/2+time.Hour))
	if err != nil || len(r.Signed) != 1 || r.Signed[0] != repository.RoleTimestamp {
		t.Errorf("after it: %+v %v", r.Signed, err)
	}
	r, err = d.resign(t.Context(), now.Add(life.Delegated/2+time.Hour))
	if err != nil || len(r.Signed) != 4 {
		t.Errorf("after that of the rings: %+v %v", r.Signed, err)
	}
}

// TestAServerKeepsItselfFresh lets nine days pass: nothing that the depot can sign by itself ever runs out.
func TestAServerKeepsItselfFresh(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDepot(t)
		var current atomic.Pointer[tls.Certificate]
		var renewals atomic.Int32
		u := &upkeep{d: d, use: func(c *tls.Certificate) { current.Store(c); renewals.Add(1) }}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { u.run(ctx); close(ended) }()
		for range 9 {
			time.Sleep(24 * time.Hour)
			synctest.Wait()
			now := time.Now()
			for _, name := range []string{"timestamp", "snapshot", "ring-pilot", "ring-broad"} {
				if left := role(t, d, name).Expires.Sub(now); left < 24*time.Hour {
					t.Fatalf("%s has %v left", name, left)
				}
			}
			if left := current.Load().Leaf.NotAfter.Sub(now); left < 2*24*time.Hour {
				t.Fatalf("the certificate has %v left", left)
			}
		}
		if n := renewals.Load(); n != 3 { // one at the start, and after 3.5 and 7 days
			t.Errorf("%d certificates in nine days", n)
		}
		cancel()
		<-ended
	})
}

func TestUpkeepGoesOnAfterAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newDepot(t)
		var log bytes.Buffer
		d.log = slog.New(slog.NewTextHandler(&log, nil))
		key := d.keys.OnlinePath(keyTimestamp)
		if err := os.Rename(key, key+".away"); err != nil {
			t.Fatal(err)
		}
		u := &upkeep{d: d, use: func(*tls.Certificate) {}}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { u.run(ctx); close(ended) }()
		time.Sleep(2 * 24 * time.Hour)
		synctest.Wait()
		if !strings.Contains(log.String(), "timestamp.key") {
			t.Error("nobody was told")
		}
		if err := os.Rename(key+".away", key); err != nil {
			t.Fatal(err)
		}
		time.Sleep(upkeepRetry + time.Second)
		synctest.Wait()
		if left := time.Until(role(t, d, "timestamp").Expires); left < 2*24*time.Hour {
			t.Errorf("the timestamp has %v left", left)
		}
		cancel()
		<-ended
	})
}

func TestOfflineRolesAreWarnedOfOnceADay(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	var log bytes.Buffer
	d.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	u := &upkeep{d: d, use: func(*tls.Certificate) {}}
	now := time.Now()
	for _, c := range []struct {
		after time.Duration
		lines int
	}{{0, 0}, {59 * 24 * time.Hour, 0}, {61 * 24 * time.Hour, 1}, {61*24*time.Hour + time.Hour, 0}, {62*24*time.Hour + time.Hour, 1}} {
		log.Reset()
		if err := u.once(t.Context(), now.Add(c.after)); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(log.String(), "role=targets"); got != c.lines {
			t.Errorf("after %v: %q", c.after, log.String())
		}
	}
	if err := d.Renew(t.Context(), false, unlock, now.Add(63*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	log.Reset()
	if err := u.once(t.Context(), now.Add(64*24*time.Hour)); err != nil || log.Len() > 0 {
		t.Errorf("after renewing: %q %v", log.String(), err)
	}
}

func TestAServerSyncsByItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "acme")
		d := newDepot(t, v)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { d.keepSynced(ctx, time.Hour); close(ended) }()
		for i := range 3 {
			v.release(t, "app", string(rune('a'+i)), int64(i+1), randomBytes(100), nil)
			time.Sleep(time.Hour + time.Minute)
			synctest.Wait()
			mirrored(t, d, v, "timestamp.json")
		}
		cancel()
		<-ended
	})
}

// TestAClockThatGoesBackSignsNothing: clients would take it for an old signature.
func TestAClockThatGoesBackSignsNothing(t *testing.T) {
	t.Parallel()
	v := newVendor(t, "acme")
	v.release(t, "app", "1.0", 1, randomBytes(100), nil)
	d := newDepot(t, v)
	if _, err := approve(t.Context(), d, "acme/app@1.0", "pilot"); err != nil {
		t.Fatal(err)
	}
	_, err := d.Unapprove(t.Context(), UnapproveRequest{Update: "acme/app@1.0"}, time.Now().Add(-48*time.Hour))
	if err == nil {
		t.Error("it was signed")
	}
	if got := offered(t, d, "pilot"); len(got) != 1 {
		t.Errorf("%v", got)
	}
}
