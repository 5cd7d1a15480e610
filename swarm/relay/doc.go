// Package relay decides what of what was heard is passed on to whom: rule 8 of the design, section 6. Where not every two
// members of a content have a link, claims, releases and first copies go from neighbour to neighbour; where they all have
// one, nothing is passed on at all. It does no I/O, asks no clock and starts nothing; package swarm and the simulator use
// the same code.
//
// It trusts members to be members and not to be honest: what one neighbour can say in others' names, and how much of it
// goes further, is bounded by count and by rate, and nothing can go in circles. docs/security.md says what a member that
// lies can still do.
//
// Start reading at Relay.Heard.
package relay
