// Package signature checks a publisher's signature over a whole payload. It works on digests that were made in one pass
// over the file (Hasher), so no scheme ever reads the file again or keeps it in memory.
//
// It trusts the public key it is handed, which comes from the approvals' signed record of the publisher. Signature files
// come from anybody: they are bounded and parsed strictly.
//
// Start reading at Digests, then Minisign.
package signature
