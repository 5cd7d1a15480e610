package finding

import (
	"testing"

	"github.com/dunlin-project/dunlin/e2e/lab"
	"github.com/dunlin-project/dunlin/metadata"
)

const alone = "sharing: off"

// TestNothingConfigured: devices that share nothing find a node by DNS-SD and take all of an update from it by HTTP. One that
// does share finds it too, and takes all over its link.
func TestNothingConfigured(t *testing.T) {
	s := newSite(t, 12<<20+77, "1gbit")
	n := s.warm()
	size := int64(len(s.data))
	quiet := s.device(alone, lab.Options{Rate: "1gbit"}).begin()
	if got := quiet.end(); got.From.Cache != size || got.From.Origin != 0 || got.Waste != 0 {
		t.Errorf("sharing off: %+v", got)
	}
	shares := s.device("", lab.Options{Rate: "1gbit"}).begin()
	if got := shares.end(); got.From.Cache != size || got.From.Origin != 0 || got.Members == 0 {
		t.Errorf("sharing: %+v", got)
	}
	ended := n.Stop()
	if paid := s.paid(); paid != size || ended.Sent != size || ended.Served != size {
		t.Errorf("the origin sent %d bytes, the node %d by HTTP and %d over links; the update has %d", paid, ended.Sent, ended.Served, size)
	}
}

// TestAColdNode: devices that share nothing and ask it at once cost the site one copy.
func TestAColdNode(t *testing.T) {
	s := newSite(t, 12<<20, "100mbit")
	n := s.node()
	var all []*device
	for range 3 {
		all = append(all, s.device(alone, lab.Options{Rate: "1gbit"}).begin())
	}
	for _, d := range all {
		if got := d.end(); got.From.Origin != 0 || got.From.Cache != int64(len(s.data)) {
			t.Errorf("%s: %+v", d.host.Name, got)
		}
	}
	n.Stop()
	if paid := s.paid(); paid != int64(len(s.data)) {
		t.Errorf("the origin sent %d bytes for an update of %d", paid, len(s.data))
	}
}

// TestWhatTheOrganisationSays finds a node where no multicast comes through.
func TestWhatTheOrganisationSays(t *testing.T) {
	s := newSite(t, 6<<20, "1gbit")
	n := s.warm()
	n.host.Deafen()
	s.sign(func(f *metadata.Fleet) { f.Caches = []string{n.url()} })
	d := s.device("cache_host_source: depot\n"+alone, lab.Options{Rate: "1gbit"}).begin()
	if got := d.end(); got.From.Origin != 0 || got.From.Cache != int64(len(s.data)) {
		t.Errorf("%+v", got)
	}
	n.Stop()
}

// TestANodeKilledInTheMiddle: the rest comes from the origin, and no byte twice but what was on its way.
func TestANodeKilledInTheMiddle(t *testing.T) {
	s := newSite(t, 24<<20, "1gbit")
	n := s.warm()
	before := s.paid()
	d := s.device(alone, lab.Options{Rate: "60mbit"}).begin()
	d.half()
	n.Kill()
	got := d.end()
	if got.From.Cache == 0 || got.From.Origin == 0 || s.paid()-before > int64(len(s.data))*6/10 {
		t.Errorf("%+v; the origin sent %d bytes for the half of %d", got, s.paid()-before, len(s.data))
	}
}

// TestAMachineThatLosesItsPower: nothing comes from it any more, not even an end. The device goes on by itself.
func TestAMachineThatLosesItsPower(t *testing.T) {
	s := newSite(t, 24<<20, "1gbit")
	n := s.warm()
	d := s.device(alone, lab.Options{Rate: "60mbit"}).begin()
	d.half()
	n.host.Cut()
	if got := d.end(); got.From.Cache == 0 || got.From.Origin == 0 {
		t.Errorf("%+v", got)
	}
	n.Kill()
}

// TestTwoNodes: the content falls to one of them, whoever asks; when that is killed in the middle the other goes on, and the
// origin has sent each of them a share of one copy.
func TestTwoNodes(t *testing.T) {
	s := newSite(t, 24<<20, "100mbit")
	nodes := []node{s.node("--prefetch"), s.node("--prefetch")}
	for _, n := range nodes {
		n.AwaitEvent("stored")
	}
	size := int64(len(s.data))
	cold := s.paid()
	if cold > size*11/10 {
		t.Errorf("two cold nodes drew %d bytes for an update of %d", cold, size)
	}
	d := s.device(alone, lab.Options{Rate: "60mbit"}).begin()
	d.half()
	busy := 0
	if out, err := nodes[0].host.Run(t.Context(), nil, "ss", "-Htn", "state", "established", "sport", "=", ":7681"); err != nil {
		t.Fatal(err, out)
	} else if out == "" {
		busy = 1
	}
	nodes[busy].Kill()
	if got := d.end(); got.From.Cache != size+got.Waste || got.From.Origin != 0 {
		t.Errorf("%+v", got)
	}
	if ended := nodes[1-busy].Stop(); ended.Sent < size/4 {
		t.Errorf("the other node sent %d bytes by HTTP", ended.Sent)
	}
	if paid := s.paid(); paid != cold {
		t.Errorf("the origin sent %d more bytes", paid-cold)
	}
}

// TestEachAnotherNode: devices that can reach one cold node each, because it is so written, cost the site about one copy: the
// nodes are members of one swarm.
func TestEachAnotherNode(t *testing.T) {
	s := newSite(t, 24<<20, "100mbit")
	nodes := []node{s.node(), s.node()}
	var all []*device
	for _, n := range nodes {
		all = append(all, s.device("cache_host_source: static\ncache_hosts: ["+n.url()+"]\n"+alone, lab.Options{Rate: "1gbit"}).begin())
	}
	for _, d := range all {
		if got := d.end(); got.From.Origin != 0 {
			t.Errorf("%s: %+v", d.host.Name, got)
		}
	}
	for _, n := range nodes {
		n.Stop()
	}
	if paid := s.paid(); paid > int64(len(s.data))*11/10 {
		t.Errorf("the origin sent %d bytes for an update of %d", paid, len(s.data))
	}
}

// TestDevicesThatShareAndAColdNode pay for one copy: the node that is asked by HTTP becomes a member, and then takes its turn.
func TestDevicesThatShareAndAColdNode(t *testing.T) {
	s := newSite(t, 24<<20, "100mbit")
	n := s.node()
	var all []*device
	for range 3 {
		all = append(all, s.device("", lab.Options{Rate: "1gbit"}).begin())
	}
	for _, d := range all {
		d.end()
	}
	n.Stop()
	t.Logf("%.3f copies", float64(s.paid())/float64(len(s.data)))
	if paid := s.paid(); paid > int64(len(s.data))*11/10 {
		t.Errorf("the origin sent %d bytes for an update of %d", paid, len(s.data))
	}
}

// TestANodeOfAnotherGroup cannot be a member, so it is asked by HTTP; the devices still share what it gives.
func TestANodeOfAnotherGroup(t *testing.T) {
	s := newSite(t, 24<<20, "100mbit")
	n := s.node("--group", "elsewhere", "--prefetch")
	n.AwaitEvent("stored")
	var all []*device
	for range 3 {
		all = append(all, s.device("cache_hosts: ["+n.url()+"]", lab.Options{Rate: "1gbit"}).begin())
	}
	size, cached := int64(len(s.data)), int64(0)
	for _, d := range all {
		got := d.end()
		cached += got.From.Cache
		if got.From.Origin != 0 {
			t.Errorf("%s: %+v", d.host.Name, got)
		}
	}
	ended := n.Stop()
	t.Logf("the node sent %.3f copies", float64(ended.Sent)/float64(size))
	if s.paid() != size || cached > size*3/2 || ended.Sent < size {
		t.Errorf("the origin sent %d bytes, the node %d, of which %d arrived; the update has %d", s.paid(), ended.Sent, cached, size)
	}
}
