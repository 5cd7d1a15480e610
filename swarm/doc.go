// Package swarm knows who is there and how to talk to them: it finds the devices of the site, connects to each once over
// TCP (port 7680), proves the group's membership on both sides, tells and hears who has what, and carries pieces.
//
// It is the one home of libp2p, of which it uses the identity, TLS 1.3 and yamux (package conn), and nothing that runs by
// itself: no host, no identify, no relay, no DHT, so nothing is said about this device but what docs/protocol.md lists.
// It decides nothing about content: package fetch does, through fetch.Site (Room) and fetch.Peer.
//
// It trusts nobody. Discovery is a hint; a connection is the peer whose key made it; before a peer has authenticated
// nothing is served to it, and afterwards everything it says is bounded. Pieces are checked by whoever takes them; a
// sender of a provably bad one is banned for a day.
//
// One goroutine, Node.loop, owns the table of peers (package table); events are applied to it and it does no I/O. Each
// connection has a link (link.go) with a goroutine for each direction of each of its streams. A link's mutex is taken
// before a room's; the node's is held alone.
//
// Its parts, each with a package: wire (the messages), conn (a secure connection), group (who is a member), discover
// (who is near), table (who to connect to), piece (payload in and out), upload (whose turn it is to be sent to).
//
// Start reading at Config and Node (node.go), then link.go, talk.go and room.go.
package swarm
