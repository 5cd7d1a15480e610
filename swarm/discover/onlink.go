package discover

import (
	"net"
	"net/netip"
	"slices"
)

// metadata services of clouds live at this link-local address; nobody of ours does.
var cloudMetadata = netip.AddrFrom4([4]byte{169, 254, 169, 254})

// onLink is which addresses can be reached without a router: those in the prefixes of our own interfaces. A value is
// immutable.
type onLink struct {
	prefixes []netip.Prefix
	own      []netip.Addr
}

// iface is an interface that discovery may use, with its own addresses that others there can reach.
type iface struct {
	net.Interface
	addrs []netip.Addr
}

// interfaces returns the host's interfaces that discovery may use, and what is on-link there: those that are up, carry
// multicast, and are neither loopback nor a line between two points, as a VPN is.
func interfaces() ([]iface, onLink) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, onLink{}
	}
	var out []iface
	var on onLink
	for _, i := range all {
		const want, not = net.FlagUp | net.FlagMulticast, net.FlagLoopback | net.FlagPointToPoint
		if i.Flags&want != want || i.Flags&not != 0 {
			continue
		}
		addrs, err := i.Addrs()
		n := len(on.own)
		if err != nil || !on.add(addrs) {
			continue
		}
		out = append(out, iface{i, on.own[n:]})
	}
	return out, on
}

// add takes in the addresses of an interface and reports whether there was one that serves. Link-local addresses do
// not: they mean nothing without the name of an interface.
func (o *onLink) add(addrs []net.Addr) bool {
	n := len(o.prefixes)
	for _, a := range addrs {
		ip, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		addr, _ := netip.AddrFromSlice(ip.IP)
		addr = addr.Unmap()
		bits, _ := ip.Mask.Size()
		if addr.IsLinkLocalUnicast() || !addr.IsGlobalUnicast() {
			continue
		}
		o.own = append(o.own, addr)
		o.prefixes = append(o.prefixes, netip.PrefixFrom(addr, bits).Masked())
	}
	return len(o.prefixes) > n
}

// has reports whether a discovered address may be dialled: a neighbour's, not our own, and no address that means
// something else than a host (loopback, multicast, network, broadcast).
func (o onLink) has(a netip.Addr) bool {
	if !a.IsGlobalUnicast() || a.IsLoopback() || a.Zone() != "" || a == cloudMetadata || slices.Contains(o.own, a) {
		return false
	}
	return slices.ContainsFunc(o.prefixes, func(p netip.Prefix) bool {
		return p.Contains(a) && !(a.Is4() && p.Bits() < 31 && (a == p.Addr() || !p.Contains(a.Next())))
	})
}

func (o onLink) equal(p onLink) bool { return slices.Equal(o.own, p.own) }
