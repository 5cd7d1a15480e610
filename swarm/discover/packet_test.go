package discover

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// testIface has an address of each family.
var testIface = iface{
	Interface: net.Interface{Index: 2, Name: "eth0"},
	addrs:     []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")},
}

func says(t testing.TB, listen ...string) (out []announcement) {
	t.Helper()
	for _, l := range listen {
		a, err := newAnnouncement(aPeer, netip.MustParseAddrPort(l), []string{"v=1", "g=tag", "p=" + testID})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, a)
	}
	return out
}

func announced(t testing.TB, ttl uint32, listen ...string) []byte {
	t.Helper()
	b, err := answer(says(t, listen...), testIface, ttl, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestWhatIsAnnouncedIsHeard: a listener is announced with the addresses it can be reached at on that interface.
func TestWhatIsAnnouncedIsHeard(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string]string{
		"0.0.0.0:7680":       "192.0.2.7",
		"[::]:7680":          "192.0.2.7 2001:db8::7",
		"192.0.2.7:7681":     "192.0.2.7",
		"[2001:db8::7]:7680": "2001:db8::7",
		"198.51.100.1:7680":  "", // of another interface
	} {
		b := announced(t, announceTTL, listen)
		if want == "" {
			if b != nil {
				t.Errorf("%s is announced where it cannot be reached", listen)
			}
			continue
		}
		p, err := parse(b)
		if err != nil || len(p.entries) != 1 || p.ask != nil {
			t.Fatalf("%s: %+v, %v", listen, p, err)
		}
		e := p.entries[0]
		var got []string
		for _, a := range e.addrs {
			got = append(got, a.String())
		}
		if strings.Join(got, " ") != want || e.port != int(netip.MustParseAddrPort(listen).Port()) {
			t.Errorf("%s: announced as %v, port %d", listen, got, e.port)
		}
		if id, tag, ok := parseTexts(e.texts); !ok || tag != "tag" || id.String() != testID {
			t.Errorf("%s: texts %q", listen, e.texts)
		}
	}
	if p, err := parse(announced(t, announceTTL, "0.0.0.0:7680", "192.0.2.7:99")); err != nil || len(p.entries) != 2 {
		t.Errorf("two listeners: %+v, %v", p, err)
	}
	if p, err := parse(announced(t, 0, "0.0.0.0:7680")); err != nil || len(p.entries) != 0 {
		t.Errorf("a farewell: %+v, %v", p, err)
	}
}

func TestQuestions(t *testing.T) {
	t.Parallel()
	for _, alone := range []bool{false, true} {
		b, err := question(aPeer, alone)
		if err != nil {
			t.Fatal(err)
		}
		p, err := parse(b)
		if err != nil || p.ask == nil || p.ask.Class&unicastBit != 0 != alone {
			t.Errorf("alone %v: %+v, %v", alone, p.ask, err)
		}
	}
	for name, q := range map[string]dnsmessage.Question{
		"another service": {Name: dnsmessage.MustNewName("_ipp._tcp.local."), Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET},
		"another type":    {Name: dnsmessage.MustNewName(service), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET},
		"another class":   {Name: dnsmessage.MustNewName(service), Type: dnsmessage.TypePTR, Class: dnsmessage.ClassCHAOS},
	} {
		m := dnsmessage.Message{Questions: []dnsmessage.Question{q}}
		b, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if p, err := parse(b); err != nil || p.ask != nil {
			t.Errorf("%s: %+v, %v", name, p.ask, err)
		}
	}
}

// TestAnAlienGetsItsQuestionBack, with its number: that is how it knows the answer (RFC 6762, section 6.7).
func TestAnAlienGetsItsQuestionBack(t *testing.T) {
	t.Parallel()
	q := dnsmessage.Question{Name: dnsmessage.MustNewName(service), Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET}
	b, err := answer(says(t, "0.0.0.0:7680"), testIface, announceTTL, &q, 4711)
	if err != nil {
		t.Fatal(err)
	}
	var m dnsmessage.Message
	if err := m.Unpack(b); err != nil || m.ID != 4711 || !slices.Equal(m.Questions, []dnsmessage.Question{q}) {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestRecordsWithoutEnd: what one packet can make us look at is bounded.
func TestRecordsWithoutEnd(t *testing.T) {
	t.Parallel()
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{Response: true})
	b.EnableCompression()
	if err := b.StartAnswers(); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if err := says(t, "0.0.0.0:7680")[0].records(&b, testIface.addrs[:1], announceTTL); err != nil {
			t.Fatal(err)
		}
	}
	packed, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if p, err := parse(packed); err != errEnough || len(p.entries) != maxRecords/4 {
		t.Errorf("%d entries of 100, %v; want %d", len(p.entries), err, maxRecords/4)
	}
}

// FuzzParse: whatever comes, parse neither panics nor returns more than a packet can hold.
func FuzzParse(f *testing.F) {
	f.Add(announced(f, announceTTL, "0.0.0.0:7680"))
	q, err := question(aPeer, true)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(q)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, _ := parse(b)
		if len(p.entries) > maxRecords {
			t.Errorf("%d entries", len(p.entries))
		}
	})
}
