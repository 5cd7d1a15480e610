package discover

import (
	"errors"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// kinds is a set of what is announced.
type kinds uint8

// The kinds.
const (
	aPeer  kinds = 1 << iota // a listener of the swarm
	aCache                   // the HTTP face of a caching node
)

// The full names of what is announced.
const (
	service      = serviceType + "." + serviceDomain + "."
	cacheService = cacheType + "." + serviceDomain + "."
)

// name is the full name of one kind.
func (k kinds) name() string {
	if k == aCache {
		return cacheService
	}
	return service
}

// kindOf is the kind of a service by its name, 0 for a stranger's.
func kindOf(name string) kinds {
	switch {
	case strings.EqualFold(name, service):
		return aPeer
	case strings.EqualFold(name, cacheService):
		return aCache
	}
	return 0
}

// kindOfInstance is the kind of the service that an instance is of, by the instance's name.
func kindOfInstance(name string) kinds {
	for _, k := range [...]kinds{aPeer, aCache} {
		if at := len(name) - len(k.name()); at > 0 && name[at-1] == '.' && kindOf(name[at:]) == k {
			return k
		}
	}
	return 0
}

// Bounds of a packet.
const (
	maxPacket  = 9000 // bytes, as multicast DNS has it
	maxRecords = 64   // that are looked at
)

// Bits of a class in multicast DNS (RFC 6762).
const (
	unicastBit = 1 << 15 // of a question: an answer to the asker alone will do
	flushBit   = 1 << 15 // of a record: it is the only one of its name
)

// entry is one announcement as it was heard.
type entry struct {
	kind  kinds
	port  int
	texts []string
	addrs []netip.Addr
}

// announcement is what we say of one listener. Instance and host have random names: ours say nothing.
type announcement struct {
	kind           kinds
	instance, host dnsmessage.Name
	port           uint16
	texts          []string
	addr           netip.Addr // unspecified: those of the interface it is announced on
}

func newAnnouncement(k kinds, l netip.AddrPort, texts []string) (announcement, error) {
	instance, err := dnsmessage.NewName(opaque() + "." + k.name())
	host, err2 := dnsmessage.NewName(opaque() + "." + serviceDomain + ".")
	return announcement{k, instance, host, l.Port(), texts, l.Addr()}, errors.Join(err, err2)
}

// on returns the addresses to announce on an interface, none if the listener cannot be reached there.
func (a *announcement) on(i iface) (out []netip.Addr) {
	for _, x := range i.addrs {
		switch {
		case x == a.addr, a.addr.IsUnspecified() && a.addr.Is6(), a.addr.IsUnspecified() && x.Is4():
			out = append(out, x)
		}
	}
	return out
}

// answer makes the packet that announces all that can be reached on the interface. It is nil when nothing can. ask, if not
// nil, is the question of who speaks no multicast DNS itself and wants it back.
func answer(all []announcement, i iface, ttl uint32, ask *dnsmessage.Question, id uint16) ([]byte, error) {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: id, Response: true, Authoritative: true})
	b.EnableCompression()
	if ask != nil {
		if err := errors.Join(b.StartQuestions(), b.Question(*ask)); err != nil {
			return nil, err
		}
	}
	if err := b.StartAnswers(); err != nil {
		return nil, err
	}
	some := false
	for _, a := range all {
		addrs := a.on(i)
		if len(addrs) == 0 {
			continue
		}
		some = true
		if err := a.records(&b, addrs, ttl); err != nil {
			return nil, err
		}
	}
	if !some {
		return nil, nil
	}
	return b.Finish()
}

func (a *announcement) records(b *dnsmessage.Builder, addrs []netip.Addr, ttl uint32) error {
	name, err := dnsmessage.NewName(a.kind.name())
	only := func(n dnsmessage.Name) dnsmessage.ResourceHeader {
		return dnsmessage.ResourceHeader{Name: n, Class: dnsmessage.ClassINET | flushBit, TTL: ttl}
	}
	err = errors.Join(err,
		b.PTRResource(dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: ttl}, dnsmessage.PTRResource{PTR: a.instance}),
		b.SRVResource(only(a.instance), dnsmessage.SRVResource{Port: a.port, Target: a.host}),
		b.TXTResource(only(a.instance), dnsmessage.TXTResource{TXT: a.texts}))
	for _, x := range addrs {
		if x.Is4() {
			err = errors.Join(err, b.AResource(only(a.host), dnsmessage.AResource{A: x.As4()}))
		} else {
			err = errors.Join(err, b.AAAAResource(only(a.host), dnsmessage.AAAAResource{AAAA: x.As16()}))
		}
	}
	return err
}

// question asks who is there, of each kind that is wanted.
func question(wanted kinds, unicast bool) ([]byte, error) {
	var m dnsmessage.Message
	for _, k := range [...]kinds{aPeer, aCache} {
		if wanted&k == 0 {
			continue
		}
		name, err := dnsmessage.NewName(k.name())
		if err != nil {
			return nil, err
		}
		q := dnsmessage.Question{Name: name, Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET}
		if unicast {
			q.Class |= unicastBit
		}
		m.Questions = append(m.Questions, q)
	}
	return m.Pack()
}

// packet is what a packet says, as far as it concerns us.
type packet struct {
	id      uint16
	ask     *dnsmessage.Question // for a service of ours
	asked   kinds                // all that is asked for
	entries []entry
}

// parse reads a packet. Records that are not ours cost a look each, and what comes after maxRecords is not looked at.
func parse(b []byte) (p packet, err error) {
	var r dnsmessage.Parser
	h, err := r.Start(b)
	if err != nil {
		return p, err
	}
	p.id = h.ID
	for {
		q, err := r.Question()
		if err == dnsmessage.ErrSectionDone {
			break
		}
		if err != nil {
			return p, err
		}
		class := q.Class &^ unicastBit
		k := kindOf(q.Name.String())
		if !h.Response && k != 0 && (q.Type == dnsmessage.TypePTR || q.Type == dnsmessage.TypeALL) && class == dnsmessage.ClassINET {
			p.ask, p.asked = &q, p.asked|k
		}
	}
	if !h.Response {
		return p, nil // known answers, and who will answer: nothing for us
	}
	var f finds
	err = f.section(&r, r.AnswerHeader, r.SkipAnswer)
	if err == nil {
		err = f.section(&r, r.AuthorityHeader, r.SkipAuthority)
	}
	if err == nil {
		err = f.section(&r, r.AdditionalHeader, r.SkipAdditional)
	}
	p.entries = f.join()
	return p, err
}

// errEnough is the error of a packet with more records than are looked at.
var errEnough = errors.New("more records than are looked at")

// finds are the records of a packet that concern us, before they are put together.
type finds struct {
	looked    int
	instances []instance
	addrs     []hostAddr
}

type instance struct {
	kind       kinds
	name, host string
	port       int
	texts      []string
}

type hostAddr struct {
	host string
	addr netip.Addr
}

func (f *finds) section(r *dnsmessage.Parser, next func() (dnsmessage.ResourceHeader, error), skip func() error) error {
	for ; ; f.looked++ {
		h, err := next()
		switch {
		case err == dnsmessage.ErrSectionDone:
			return nil
		case err != nil:
			return err
		case f.looked == maxRecords:
			return errEnough
		}
		if err := f.record(r, h, skip); err != nil {
			return err
		}
	}
}

func (f *finds) record(r *dnsmessage.Parser, h dnsmessage.ResourceHeader, skip func() error) error {
	kind := kindOfInstance(h.Name.String())
	switch {
	case h.TTL == 0: // a farewell
		return skip()
	case h.Type == dnsmessage.TypeSRV && kind != 0:
		x, err := r.SRVResource()
		i := f.of(kind, h.Name.String())
		i.host, i.port = x.Target.String(), int(x.Port)
		return err
	case h.Type == dnsmessage.TypeTXT && kind != 0:
		x, err := r.TXTResource()
		f.of(kind, h.Name.String()).texts = x.TXT
		return err
	case h.Type == dnsmessage.TypeA:
		x, err := r.AResource()
		f.addrs = append(f.addrs, hostAddr{h.Name.String(), netip.AddrFrom4(x.A)})
		return err
	case h.Type == dnsmessage.TypeAAAA:
		x, err := r.AAAAResource()
		f.addrs = append(f.addrs, hostAddr{h.Name.String(), netip.AddrFrom16(x.AAAA).Unmap()})
		return err
	}
	return skip()
}

func (f *finds) of(k kinds, name string) *instance {
	for i := range f.instances {
		if f.instances[i].name == name {
			return &f.instances[i]
		}
	}
	f.instances = append(f.instances, instance{kind: k, name: name})
	return &f.instances[len(f.instances)-1]
}

// join gives each instance the addresses of its host.
func (f *finds) join() (out []entry) {
	for _, i := range f.instances {
		e := entry{kind: i.kind, port: i.port, texts: i.texts}
		for _, a := range f.addrs {
			if a.host == i.host {
				e.addrs = append(e.addrs, a.addr)
			}
		}
		if i.host != "" && len(e.addrs) > 0 {
			out = append(out, e)
		}
	}
	return out
}
