// Package discover finds the devices of a group on the networks that this device is on, and lets them find it: DNS-SD
// over multicast DNS, as docs/protocol.md, section 2.3, says. Caching nodes announce their HTTP face besides, as a service of its
// own, which also devices look for that share nothing.
//
// It trusts nothing it hears: an announcement is a hint, costs a few comparisons whatever it says, and leads to addresses
// of neighbours only. What it announces says nothing but where, and to members of the group which group.
//
// Start reading at Config and Run.
package discover
