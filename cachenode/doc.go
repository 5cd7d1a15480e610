// Package cachenode is one always-on machine of a site: it keeps content in a large store, gives it to the devices around as
// a member of the swarm like any other, and to everybody else by HTTP.
//
// It has no download code of its own. Content that is known and not stored is fetched by package fetch, over the swarm and
// through the gate of package httpfallback, once however many ask for it: whoever reads gets each piece as it arrives. What is
// known, and whether it may be given away, a Catalogue says: Folder is one of metainfo files, package approved one of what an
// organisation has approved. Files known only by their URL are package urlcache's, in a store of their own.
//
// It trusts its catalogue and nothing else. A piece is hashed before it first leaves after a start, whether it came from an
// origin, from a device or from the disk; what turns out damaged is fetched again. What clients ask is bounded: headers,
// ranges, connections, and the time they take. A slow reader holds a connection and a file, and nothing that others wait for.
//
// Node.mu guards the table of what is open; each content has a mutex of its own, and a goroutine only while it is fetched.
// Node.mu is taken before a content's. No I/O is done under either.
//
// Start reading at Config and Node (node.go), then content.go for one content's life, fill.go for how it is fetched, prefetch.go
// for what nobody has asked for, room.go and doubt.go for what makes way or has rotted, and face.go for HTTP.
package cachenode
