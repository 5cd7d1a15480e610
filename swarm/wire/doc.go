// Package wire is the format of what devices say to each other: the messages of /dunlin/auth/1, /dunlin/site/1,
// /dunlin/piece/1 and /dunlin/layer/1, in the encoding of protocol buffers, each behind its length.
//
// docs/protocol.md is normative; this package follows it by hand, field by field, so that every field has its bound where
// it is read. It trusts nothing: a message that breaks a bound is an error and the sender's connection ends, a field or a
// kind of message that is not known is skipped, and no length read from the network is allocated before it was checked.
// It does no I/O but for reading and writing one frame.
//
// Start reading at the limits (limits.go), then the messages (auth.go, site.go, piece.go, layer.go), then Reader.
package wire
