// Package durable writes files so that a power cut leaves the old content or the new, never a mixture and never nothing.
//
// A name is changed only after the bytes behind it are on the disk, and the folder is synced after the name, because a
// file system may write the two in either order. The package also makes the private folders that keys and unfinished
// downloads live in, and refuses one that somebody else could write to. It trusts the file system to keep what fsync
// promised, and nobody's folder but our own.
//
// Start reading at WriteFile.
package durable
