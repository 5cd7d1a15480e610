// Package handler puts updates in place: File writes one file, Tree unpacks an archive beside its destination and
// switches a symlink to it, Exec runs the payload.
//
// They trust what they are given, because only install.Verify makes it, with one exception: an archive, which is read as
// if it came from an enemy. What they change goes through an install.Transaction, which takes it back if anything fails.
//
// Start reading at All.
package handler
