// Package bundle puts contents of a store into one file, for a site that gets its first copy on a disk, and takes them out
// of it into another store. The format is docs/bundle.md: a tar with a strict layout, of metainfo files and what they describe,
// that other programs can read.
//
// Export takes nothing from the store that it has not hashed just now, and writes the same bytes whenever it is run for the
// same contents; so File, after a crash, compares what is there already and goes on where it differs. Import takes no word of
// the bundle's for it: names, order and lengths must be those that the layout prescribes, each metainfo file must prove itself,
// and every piece passes Partial.Put, which hashes it; so content is complete in the store, and the root is what the bundle
// says, or it is not there. What goes on where an earlier import stopped is the store: it keeps the pieces that it has.
//
// Either has one piece in memory, and the metainfo file of one content. Both work beside a node that runs. It trusts the store.
// Start reading at Export and Import, then layout.go.
package bundle
