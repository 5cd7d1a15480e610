// Package table decides which peers to connect to, when, and which connection stays: the rules of docs/protocol.md,
// section 2.2, as a pure function of events and the time. It does no I/O, asks no clock and starts nothing, so one
// goroutine can own it and tests can play any story.
//
// It trusts nobody: what it remembers of peers that were only heard of is bounded.
//
// Start reading at Table.
package table
