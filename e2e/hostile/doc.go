// Package hostile proves at the command line what happens when things are bad: bytes, signatures, certificates, servers,
// disks, archives, power cuts. Every case runs the built binary as real processes, each server on a loopback address of
// its own, and asks for three things: the exit code that says what kind of bad it is, that nothing (or nothing but what is
// good) was installed, and that the next run succeeds without help once what was bad is good again.
//
// It trusts the binary's exit codes, the operating system, and nginx. It runs under "make e2e" only, because it takes
// minutes, root and nginx. Start reading at world (world_test.go), then TestAFlippedBitInAnyMetadataFile.
package hostile
