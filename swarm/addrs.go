package swarm

import (
	"fmt"
	"net"
	"net/netip"
)

// Addrs returns where this device can be reached, as multiaddrs with its id. Listeners on all addresses are listed with
// those that the device has now.
func (n *Node) Addrs() []string {
	var out []string
	for _, l := range n.listen {
		a := l.Addr().(*net.TCPAddr)
		for _, ip := range hostAddrs(a.IP) {
			family := "ip6"
			if ip.Is4() {
				family = "ip4"
			}
			out = append(out, fmt.Sprintf("/%s/%s/tcp/%d/p2p/%s", family, ip, a.Port, n.self))
		}
	}
	return out
}

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
