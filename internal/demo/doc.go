// Package demo runs the whole of Dunlin on one machine: a publisher, an origin behind a thin line, a depot and devices,
// each a real process on a loopback address of its own, through one update from its publication to its installation.
//
// It trusts nothing but the binary it runs as, and writes only below a folder of its own. Start reading at Run.
package demo
