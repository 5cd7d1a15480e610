package fetch

import (
	"slices"
	"time"
)

// Members without a link (rule 8). Above 64 members a device has links to some of them only, and two subnets may have one
// device between them. Claims and first copies of the others come over those it has links to; without that each
// neighbourhood of a large site would fetch the file for itself.

// meet returns a new member without a link, or nil when there are too many to remember.
func (d *Core) meet(id PeerID) *member {
	if id == d.cfg.Self {
		return nil
	}
	if len(d.distant) >= maxDistant {
		i := slices.IndexFunc(d.distant, func(m *member) bool { return len(m.claims) == 0 })
		if i < 0 {
			return nil
		}
		d.forget(d.distant[i])
	}
	m := &member{id: id, distant: true, key: peerKey(d.c.Root(), id), record: d.past[id]}
	d.members[id] = m
	d.distant = insert(d.distant, m)
	return m
}

// forget removes a member without a link. Its claims end by its own word, not by a death: it may have got a link.
func (d *Core) forget(m *member) {
	d.remember(m)
	for len(m.claims) > 0 {
		d.endClaim(m, m.claims[0], false)
	}
	delete(d.members, m.id)
	d.distant = slices.DeleteFunc(d.distant, func(o *member) bool { return o == m })
}

// hearsay takes in that a member without a link has drawn pieces. They come over neighbours; should they not, because the
// only holder died, this device draws them after a while.
func (d *Core) hearsay(now time.Duration, m *member, s SayHave) {
	if !s.Drawn || s.First < 0 || s.Count < 1 || s.First > d.c.Pieces()-s.Count {
		return
	}
	news := false // it could say so for ever
	for i := s.First; i < s.First+s.Count; i++ {
		p := &d.piece[i]
		news = news || p.rumour == 0 && p.avail == 0 && !d.have.Has(i)
		if p.avail == 0 {
			p.rumour = now + meshTime
		}
	}
	if news {
		m.broken = 0
	}
	for _, c := range slices.Clone(m.claims) {
		c.unsaid -= max(0, min(c.end, s.First+s.Count)-max(c.first, s.First))
		if d.fulfilled(m, c) {
			if d.grow(now, m, c, c.bytes); !news {
				m.broke(now, c)
			}
			d.endClaim(m, c, false)
		}
	}
}
