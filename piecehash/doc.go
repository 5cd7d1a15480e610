// Package piecehash says what bytes are: the Merkle tree of BEP 52 over one file, and the proofs it gives.
//
// Content is one immutable file, named by its Root. The piece layer is the list of piece hashes; it proves itself
// against the root (Content.Prove), so it may come from anybody, and a Manifest that exists has been proved. A piece is
// checked against the manifest with Manifest.Check. The package trusts nobody: every byte it decodes is bounded and
// parsed strictly. It imports only the standard library.
//
// Start reading at Content and Manifest (content.go), then Sum (sum.go), then the metainfo file (metainfo.go).
package piecehash
