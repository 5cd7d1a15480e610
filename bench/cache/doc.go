// Package cache measures a cache node: a hit against nginx, a cold fetch against a plain curl, a dozen clients and a dozen
// agents around a node behind a thin line, a node that is killed, and what the node says of the origin against the origin's
// own log. It prints a table with a verdict for each row and judges nothing by absolute times; what must hold however busy the
// machine is, fails the test.
//
// It needs root, nginx, curl and python3-libtorrent. Start reading at rows (rows_test.go), then at the row of interest.
package cache
