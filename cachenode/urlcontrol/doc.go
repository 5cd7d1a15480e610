// Package urlcontrol reaches the files known by their URL of a cache node that runs, from commands on the same machine: only
// the node itself may change them, because it keeps an account of them in memory. It is HTTP on a unix socket in the node's private
// folder.
//
// It trusts whoever may open the socket: root, and the user whose folder it is. A client that stops reading is left alone
// after a minute.
//
// Start reading at Listen, and at Warm for the other end.
package urlcontrol
