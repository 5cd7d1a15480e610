// Package archive unpacks tar, tar.gz, tar.zst and zip into a folder, and takes no word of the archive's for it.
//
// An archive here comes from a publisher that the organisation trusts, so a hostile one means a stolen key, and the
// package is the last line: nothing is written outside the folder, nothing is made but files, folders and links that
// lead to inside of it, and no limit is passed. Whatever breaks a rule is fault.Untrusted. Names are checked before
// anything is made, and all of it is made through an os.Root, so that a mistake in the one is caught by the other.
//
// It trusts the folder to be new, empty and out of everybody else's reach. What a refused archive leaves in there is the
// caller's to remove. Nothing is synced.
//
// Start reading at Unpack, then tree.go for the rules, tar.go and zip.go for the formats.
package archive
