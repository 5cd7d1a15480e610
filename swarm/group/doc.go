// Package group proves membership: that both ends of a connection know the key of one group. It also has what is made of
// that key: the names of content on the wire and the tags of announcements.
//
// docs/protocol.md, section 3, is normative. It trusts TLS for who the other end is, and nothing that end says: a Member
// that exists has been proved.
//
// Start reading at Key, then Authenticator.
package group
