// Package byterange reads the header Range, and lays out the bodies of the answers to it (RFC 9110, section 14).
//
// It trusts no client: ranges are few, do not overlap, and lie inside. It does no I/O. Both faces of the cache node, that of
// content named by its root and that of content known by its URL, answer with it.
//
// Start reading at Parse, then NewParts.
package byterange
