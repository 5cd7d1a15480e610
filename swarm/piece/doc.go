// Package piece moves pieces over one connection: an Asker fetches them from the peer, Serve gives them to it, over a
// stream each (/dunlin/piece/1, docs/protocol.md, section 6). It decides nothing about which piece or peer.
//
// It trusts nobody. The Asker takes only slices that it asked for, in their place, at a rate worth waiting for, and hands
// whole pieces to a sink that checks them. Serve bounds what one peer can make it remember and read, and never holds
// memory for a peer that does not take what it asked for.
//
// Start reading at Asker and Serve.
package piece
