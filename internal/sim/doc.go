// Package sim runs the decision of package fetch on whole sites in virtual time: devices with links of their own, one line
// to the origin that they share, discovery, churn, slow and lying devices. Everything random comes from one seed, and the
// same seed gives the same trace. Runner, upload order and the order of events are those of packages fetch, swarm/upload and
// swarm/piece, written again as events instead of goroutines, so that ten thousand devices fit into minutes.
//
// What it leaves out: the time that computing takes (handshakes, hashing, the disk), TCP's slow start and losses, the bytes
// of control messages and of headers, compression, new links for those that broke, and what several contents at the same
// time do to each other. Its figures are therefore a bound on how good the decision can be, and bench/site has the real
// ones; what goes wrong here goes wrong there too.
//
// Pieces are numbers, not bytes: a device that corrupts sends another number, and everybody checks. The simulator trusts
// nobody's count: what the origin has sent, what devices say that they got from it, and what was lost on the way are
// counted apart and must agree. Start reading at Scenario and Run; the list of scenarios is in scenarios.go.
package sim
