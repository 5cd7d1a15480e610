package swarm

import (
	"net"
	"net/netip"
)

// hostAddrs returns ip itself, or, when it stands for all addresses, those that the host has: not the link-local ones,
// which mean nothing without an interface, and the loopback ones last.
func hostAddrs(ip net.IP) []netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	a = a.Unmap()
	if !a.IsUnspecified() {
		return []netip.Addr{a}
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out, loopback []netip.Addr
	for _, x := range all {
		n, ok := x.(*net.IPNet)
		if !ok {
			continue
		}
		b, _ := netip.AddrFromSlice(n.IP)
		switch b = b.Unmap(); {
		case b.IsLinkLocalUnicast():
		case b.IsLoopback():
			loopback = append(loopback, b)
		default:
			out = append(out, b)
		}
	}
	return append(out, loopback...)
}
