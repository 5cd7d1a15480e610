// Package cachehost finds and uses the HTTP faces of LAN caching nodes.
//
// Hosts, one per process, knows which nodes there are, by the settings of the device, by DNS-SD and by what the organisation has
// signed, and how each of them is: one that does not answer costs the whole process one timeout, then nobody waits for it until
// it answers again. Via is one content by way of these nodes: a fetch.Origin that asks first the node that the content falls to
// by rendezvous hash, then the others, and the origins last.
//
// It trusts no node. Every piece is hashed before it is kept; a node that sends a wrong one is left alone for a day. Nodes are
// asked directly, never through a proxy, and redirect nobody.
//
// Start reading at Via.Fetch, then Hosts (hosts.go) and health.go.
package cachehost
