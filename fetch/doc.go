// Package fetch gets one file from many sources: from the devices of the site what they have, from the origin what the
// site lacks, and each byte of it once.
//
// Two halves. The decision (Core, core.go) is pure: events and the time go in, actions come out; it does no I/O and asks
// no clock, so the same code runs in production, in virtual-time tests and in the simulator. The runner (File, file.go)
// owns a Core, carries its actions out and feeds it what happened. fetch owns claims; package swarm carries them (Site)
// and package httpfallback fetches origin ranges without deciding anything (Origin).
//
// It trusts no source: every piece is checked against the manifest by the store before it counts, is announced or served.
//
// Start reading at File, then Core, then site.go for what it needs from the network.
package fetch
