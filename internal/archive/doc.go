// Package archive reads tar, tar.gz, tar.zst and zip, and takes no word of the archive's for it. Unpack fills a folder
// with one, on a device; Check goes the same way and makes nothing, at a publisher who must not sign what no device takes.
// There is one set of rules for both: the walk. What they differ in is the maker behind it.
//
// An archive on a device comes from a publisher that the organisation trusts, so a hostile one means a stolen key, and the
// package is the last line: nothing is written outside the folder, nothing is made but files, folders and links that
// lead to inside of it, and no limit is passed. Whatever breaks a rule is fault.Untrusted. Names are checked before
// anything is made, and all of it is made through an os.Root, so that a mistake in the one is caught by the other.
//
// It trusts the folder to be new, empty and out of everybody else's reach. What a refused archive leaves in there is the
// caller's to remove. Nothing is synced. What a file system refuses on its own (names that differ in case only, more hard
// links to a file than it can count) Check cannot know.
//
// Start reading at Unpack and Check, then walk.go, names.go and follow.go for the rules, tar.go and zip.go for the
// formats, disk.go for the makers.
package archive
