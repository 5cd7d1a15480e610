package fetch_test

import (
	"testing"
	"testing/synctest"
)

// TestAFastOrigin: half of what a LAN link carries. Twelve devices whose links are up need little more than the line itself,
// because first copies multiply instead of queueing at their owners.
func TestAFastOrigin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := site{n: 12, length: 64 * mib, origin: 5 * mbit100, uplink: gbit}.run(t)
		r.check(t)
		t.Logf("copies %.3f, makespan %.3f", r.copies, r.makespan)
		if r.copies > 1.05 || r.makespan > 1.2 {
			t.Errorf("copies %.3f, makespan %.3f", r.copies, r.makespan)
		}
	})
}
