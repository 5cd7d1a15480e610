// Package store keeps verified bytes on disk. There is no way in but through the hash: Partial.Put checks a piece against
// the manifest before it writes it, so what the store serves and seals is what the root promises.
//
// Two places, one engine. A Store is a private folder (0700) in which content is filed under its root; BeginAt and OpenAt
// keep one file beside its target instead, as the command "get" does. Either way a download is a Partial: a preallocated
// file and a state file that says which pieces are there. The state is written after the data has reached the disk, so
// a crash at any point loses at most the pieces since the last sync; what is lost is looked for again by hashing what the
// file holds. A damaged state file costs time (everything is hashed again), never trust and never the download. Seal
// makes a File of a Partial: complete, synced, under its final name.
//
// The package trusts its manifest (which has proved itself) and not the disk: a piece that was there at the start is
// hashed again before it is served for the first time. It trusts other processes of the same user to respect its locks.
// It starts no goroutine that outlives a call.
//
// Start reading at Partial (partial.go), then begin.go for how one comes to be, state.go and sync.go for what a crash
// leaves, seal.go for how one ends, and store.go for the folder.
package store
