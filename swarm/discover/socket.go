package discover

import (
	"errors"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

const mdnsPort = 5353

var (
	group4 = netip.AddrFrom4([4]byte{224, 0, 0, 251})
	group6 = netip.MustParseAddr("ff02::fb")
)

// socket sends and receives multicast DNS of one family of addresses. Several processes of a host may each have one.
type socket interface {
	// receive returns the length of a packet, the index of the interface that it came by (0 unknown) and its sender.
	receive(b []byte) (n, ifIndex int, from netip.AddrPort, err error)
	multicast(b []byte, ifIndex int) error
	unicast(b []byte, to netip.AddrPort) error
	Close() error
}

// listenUDP binds the port of multicast DNS. That the address is one of multicast makes package net share the port.
func listenUDP(network string, shared netip.Addr) (*net.UDPConn, error) {
	return net.ListenUDP(network, &net.UDPAddr{IP: shared.AsSlice(), Port: mdnsPort})
}

// join joins the group on all interfaces; one will do.
func join(ifaces []iface, one func(*net.Interface) error) error {
	var errs []error
	for _, i := range ifaces {
		if err := one(&i.Interface); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == len(ifaces) {
		return errors.Join(errs...)
	}
	return nil
}

type socket4 struct {
	udp *net.UDPConn
	p   *ipv4.PacketConn
	to  *net.UDPAddr
}

func open4(ifaces []iface) (socket, error) {
	c, err := listenUDP("udp4", netip.AddrFrom4([4]byte{224, 0, 0, 0}))
	if err != nil {
		return nil, err
	}
	s := &socket4{c, ipv4.NewPacketConn(c), net.UDPAddrFromAddrPort(netip.AddrPortFrom(group4, mdnsPort))}
	err = join(ifaces, func(i *net.Interface) error { return s.p.JoinGroup(i, s.to) })
	if err = errors.Join(err, s.p.SetControlMessage(ipv4.FlagInterface, true), s.p.SetMulticastTTL(255), s.p.SetMulticastLoopback(true)); err != nil {
		c.Close()
		return nil, err
	}
	return s, nil
}

func (s *socket4) receive(b []byte) (n, ifIndex int, from netip.AddrPort, err error) {
	n, cm, src, err := s.p.ReadFrom(b)
	if cm != nil {
		ifIndex = cm.IfIndex
	}
	return n, ifIndex, sender(src), err
}

func (s *socket4) multicast(b []byte, ifIndex int) error {
	_, err := s.p.WriteTo(b, &ipv4.ControlMessage{IfIndex: ifIndex}, s.to)
	return err
}

func (s *socket4) unicast(b []byte, to netip.AddrPort) error {
	_, err := s.udp.WriteToUDPAddrPort(b, to)
	return err
}

func (s *socket4) Close() error { return s.udp.Close() }

type socket6 struct {
	udp *net.UDPConn
	p   *ipv6.PacketConn
	to  *net.UDPAddr
}

func open6(ifaces []iface) (socket, error) {
	c, err := listenUDP("udp6", netip.MustParseAddr("ff02::"))
	if err != nil {
		return nil, err
	}
	s := &socket6{c, ipv6.NewPacketConn(c), net.UDPAddrFromAddrPort(netip.AddrPortFrom(group6, mdnsPort))}
	err = join(ifaces, func(i *net.Interface) error { return s.p.JoinGroup(i, s.to) })
	if err = errors.Join(err, s.p.SetControlMessage(ipv6.FlagInterface, true), s.p.SetMulticastHopLimit(255), s.p.SetMulticastLoopback(true)); err != nil {
		c.Close()
		return nil, err
	}
	return s, nil
}

func (s *socket6) receive(b []byte) (n, ifIndex int, from netip.AddrPort, err error) {
	n, cm, src, err := s.p.ReadFrom(b)
	if cm != nil {
		ifIndex = cm.IfIndex
	}
	return n, ifIndex, sender(src), err
}

func (s *socket6) multicast(b []byte, ifIndex int) error {
	_, err := s.p.WriteTo(b, &ipv6.ControlMessage{IfIndex: ifIndex}, s.to)
	return err
}

func (s *socket6) unicast(b []byte, to netip.AddrPort) error {
	_, err := s.udp.WriteToUDPAddrPort(b, to)
	return err
}

func (s *socket6) Close() error { return s.udp.Close() }

func sender(a net.Addr) netip.AddrPort {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := u.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
