// Package repository makes TUF 1.0.34 repositories: it builds, signs and publishes the metadata of a publisher's
// catalogue and of an organisation's approvals.
//
// A Repository has two places. The record is one private file with the exact bytes of everything that is current; it
// is replaced in one step, and only it is ever read to decide what to sign. The public folder is what a web server
// serves: consistent snapshots (N.root.json, N.targets.json, N.<role>.json, N.snapshot.json) and timestamp.json, which
// is written last. A publication that was interrupted before the record was replaced has not happened; one that was
// interrupted after it is completed by the next Update or Refresh, which compare the public folder with the record and
// write what differs. So whoever can write to the web server's folder can break it for a while, but never gets a word
// of his signed.
//
// The package trusts the private record (and verifies it all the same, as a client would), the signers it is handed and
// the time it is given. Nothing is published that a client of ours would refuse. SHA-256 only.
//
// Start reading at Repository.Update (repository.go), then seal.go for the order of versions and signatures.
package repository
