// Package line builds what the benches of a site share: an origin, which is an nginx behind a thin line, and hosts beside it,
// in network namespaces of this machine; clients that leave a start line together; and the counts of what the origin has
// sent, by its access log and by its line.
//
// It needs root, nginx, curl, pgrep and python3-libtorrent, and trusts the kernel's counters and nginx's. Start reading at
// Build, then LineUp and Network.Since.
package line
