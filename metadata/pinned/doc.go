// Package pinned speaks TLS 1.3 with servers of one private authority, and with nobody else.
//
// It keeps all the normal checks of a certificate and adds to them: the authority is the only one that is asked, one of
// its keys is pinned, and the certificate says that it is for servers. When somebody else answers, the errors say who it
// seems to be and what to do; there is no way to switch the checks off. The package trusts the authority and the pins that
// it is given, and the clock.
//
// Start reading at NewClient.
package pinned
