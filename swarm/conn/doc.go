// Package conn turns a TCP connection into one that is encrypted, proves its other end's peer id and carries streams:
// libp2p's TLS 1.3 and yamux with bounds of our own. It is the only place that knows how libp2p is put together.
//
// It trusts nobody: a Conn that exists is with the peer whose key made it, and that is all that is known of it; package
// group shows whether it may say anything. Every limit is explicit.
//
// Start reading at Upgrader.
package conn
