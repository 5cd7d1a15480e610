// Package tuf brings one TUF 1.0.34 repository up to date and proves it.
//
// The rules of trust are those of go-tuf's trustedmetadata; the order of the steps (section 5 of the specification), the
// store on disk, the fetching and the limits are here, because the updater that comes with go-tuf cannot be stopped,
// forgets its root, and never recovers from a damaged file. What cannot be told apart by a signature is refused before it
// reaches go-tuf (schema.go).
//
// The package trusts the root file it is given, and its own folder only as a memory: a damaged file in it is fetched
// again. Start reading at Updater.Refresh.
package tuf
