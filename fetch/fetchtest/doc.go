// Package fetchtest has what tests of package fetch and of its sources need: a LAN, an origin and a part in memory, with
// rates that hold in virtual time (testing/synctest), and conformance tests for fetch.Peer and fetch.Origin. It trusts
// nobody and lies on demand. Start reading at LAN.
package fetchtest
