// Package metadata says what may be installed, and who says so.
//
// Two signed TUF repositories decide together. The publisher's catalogue says what a file is: Update, one record for
// each target. The organisation's approvals say who gets it: Approval, one record for each ring, and above them
// Publisher (whom the organisation trusts, and for what) and Fleet. A device acts only where both agree, and View is the
// value that says so: Open is its only maker, and it verifies both repositories from raw bytes.
//
// The package trusts an anchor and nothing else: the root file of the approvals, which came with the join token or the
// package. Every byte from a network or a disk is bounded and parsed strictly before it is believed. Pinned TLS keeps
// what a device asks for private and makes freezing it harder (package metadata/pinned); it is not what makes an update
// genuine.
//
// Start reading at Open (open.go), then Client (client.go), which fetches what Open checks. The records are in
// update.go, approval.go and trust.go, their names and paths in names.go. Package metadata/tuf has the order of checks.
package metadata
