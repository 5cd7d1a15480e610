package fetch

import "time"

// debt is what this device has drawn from the origin and not passed on: the site waits for it. A device draws only as far
// ahead as it passes on (rule 3, "blocked by live claims only", would otherwise let one device with a thin uplink fetch
// half of the file, and the whole site then waits for that uplink, or fetches it again).
type debt struct {
	bytes int64
	most  int64         // that it may be
	paid  time.Duration // when a piece was last passed on, or the first was owed
	deep  bool          // too much of it
	since time.Duration // since when it has been deep
	thin  time.Duration // until when this device leaves the origin to others, if there are any
}

// owe notes that the site waits for this device to pass piece i on.
func (d *Core) owe(i int) {
	if p := &d.piece[i]; p.drawn && p.avail == 0 && d.takers() {
		if d.debt.bytes == 0 {
			d.debt.paid = d.now
		}
		p.owed = true
		d.debt.bytes += d.c.PieceSize(i)
	}
}

// paid notes that a member has piece i now.
func (d *Core) paid(i int) {
	if p := &d.piece[i]; p.owed {
		p.owed = false
		d.debt.paid = d.now
		d.debt.bytes -= d.c.PieceSize(i)
	}
}

// takers reports whether any member could take what this device passes on.
func (d *Core) takers() bool {
	for _, m := range d.order {
		if !m.paused && !m.have.Full() {
			return true
		}
	}
	return false
}

// holdsBack reports whether this device leaves the origin alone because of its debt: when nobody takes anything of it, or when
// it is twice what it may be. A site whose processors have all to do at once takes everything a little later; the line must not
// be idle for that. That nobody takes what it has may also be their fault: after a while it goes on, if nobody else draws.
func (d *Core) holdsBack(now time.Duration) bool {
	if now < d.debt.thin {
		return d.siteStreams() > len(d.streams)
	}
	return d.debt.deep && (now-d.debt.paid >= debtTime || d.debt.bytes > 2*d.debt.most)
}

// outdrawn reports whether this device's line brings a fraction of what another owner's does. Its pieces would be the last
// of the file.
func (d *Core) outdrawn(now time.Duration) bool {
	if len(d.draws) == 0 || !d.originRate.lived(now, time.Second) {
		return false
	}
	mine := thinShare * d.originRate.rate(now)
	for m := range d.everyone {
		for _, c := range m.claims {
			if d.believed(now, m, c) > mine {
				return true
			}
		}
	}
	return false
}

// judgeDebt finds whether the debt is deep, and by how long it stays so whether the uplink is too thin for an owner.
func (d *Core) judgeDebt(now time.Duration) {
	b := &d.debt
	if d.outdrawn(now) {
		b.thin = now + thinFor
	}
	b.most = max(min(maxDebt, int64(d.originRate.rate(now)*debtTime.Seconds())), 2*d.c.PieceLength())
	deep := b.bytes > b.most && d.takers()
	switch {
	case !deep:
		b.deep = false
	case !b.deep:
		b.deep, b.since = true, now
	case now-b.since >= thinAfter:
		b.thin = now + thinFor
	}
}
