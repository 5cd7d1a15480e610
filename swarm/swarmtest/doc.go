// Package swarmtest has what tests of package swarm, and of what is built on it, need: several nodes on loopback
// addresses in one process, that know each other as static peers, and content in memory for them to share. It is the
// real thing but for the wire. It trusts its callers. Start reading at Start.
package swarmtest
