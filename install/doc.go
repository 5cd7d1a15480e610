// Package install puts updates in place, and nothing else than what their publisher signed and the organisation approved.
//
// Verify is the only maker of a Verified, and a Verified is all that a handler takes. It goes by an open file, the raw
// signed bytes of both repositories and the installer's own state, and believes nobody who hands them over: a process
// with more rights than the one that downloaded can call it unchanged. What is installed is what was hashed: the payload
// is held so that nobody can write to it, or it is copied to where nobody can, and it is hashed once on the way.
//
// Apply is a transaction. A journal is written before anything changes, the switch from the old state to the new is one
// rename, and a crash at any step leaves the one or the other: Recover, at the start of the next run, takes back what was
// not finished and finishes what was decided. An update that its own health check rejects is taken back as well. A program
// (handler exec) cannot be taken back; one that was interrupted is run again.
//
// The version floor keeps the highest release of everything that was ever installed here, twice, beside the inventory.
// Nothing below it is installed unless publisher and organisation both say so.
//
// The package trusts its state folder (0700, its own), the anchor and the ring of its Config, and the kernel. It starts no
// goroutine that outlives a call.
//
// Start reading at Installer (installer.go), then Verify (verify.go), Apply (apply.go) and transaction.go. Handlers are in
// install/handler, archives in internal/archive, publishers' signatures in install/signature. A handler of your own is
// checked with install/installtest.
package install
