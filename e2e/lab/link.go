package lab

// shape is the command that gives one end of a link a rate for what it sends.
func shape(dev, rate string) []string {
	return []string{"tc", "qdisc", "replace", "dev", dev, "root", "tbf", "rate", rate, "burst", "512kb", "latency", "30ms"}
}

// Shape gives the host's link another rate in both directions, as tc writes it ("10mbit").
func (h *Host) Shape(rate string) {
	h.lab.t.Helper()
	h.lab.in(h.ns, shape("eth0", rate)...)
	h.lab.in(h.lab.sw, shape(h.port, rate)...)
}

// Cut pulls the host's cable out of the switch: nothing is lost on the host, and nothing comes or goes.
func (h *Host) Cut() {
	h.lab.t.Helper()
	h.lab.in(h.lab.sw, "ip", "link", "set", h.port, "down")
}

// Mend puts the cable back.
func (h *Host) Mend() {
	h.lab.t.Helper()
	h.lab.in(h.lab.sw, "ip", "link", "set", h.port, "up")
}

// Deafen keeps all multicast from reaching the host, as switches and wireless networks do that are set up so: it discovers
// nobody, and what it announces reaches those who are not deaf.
func (h *Host) Deafen() {
	h.lab.t.Helper()
	h.lab.in(h.lab.sw, "bridge", "link", "set", "dev", h.port, "mcast_flood", "off")
}

// Route sends what the host has for everybody else to a router on its own network.
func (h *Host) Route(router string) {
	h.lab.t.Helper()
	h.lab.in(h.ns, "ip", "route", "add", "default", "via", router)
}

// Forward makes the host a router between the networks it is on.
func (h *Host) Forward() {
	h.lab.t.Helper()
	h.lab.in(h.ns, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
}
