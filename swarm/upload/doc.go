// Package upload decides who may send the next slice of payload: one Scheduler per process, which every connection asks
// for each slice. It shares the uplink by bytes, holds the limit that the user set, and keeps so little unsent that
// messages about content never wait long behind content.
//
// It does no I/O: a Flow is told how much of what it was granted has left. It trusts the peers to be slow, stuck and
// many.
//
// Start reading at Scheduler.
package upload
