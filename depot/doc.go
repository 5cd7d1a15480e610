// Package depot is an organisation's update server: it mirrors publishers' catalogues, approves updates for rings of
// devices, and serves both, with the content, to devices.
//
// A depot is a folder. What devices may read lies under public, byte for byte as they read it, so that any web server
// could serve it; everything else is private. The publishers' metadata is kept as it was signed. The depot holds the
// online keys of the organisation's approvals and never a publisher's key; the keys of the approvals' root and targets
// roles are encrypted and meant to be carried away.
//
// It trusts the organisation's keys and the publishers' roots that were added by hand. It trusts no upstream server, no
// device, and no user of the machine but the owner of the folder and root: bytes from upstream are verified as a device
// verifies them before anything replaces what was there, and requests reach only paths of the exact shapes in path.go.
//
// Start reading at Depot (depot.go) and its methods Sync (sync.go) and Approve (approve.go), then Server (serve.go) for
// the two device listeners and admin.go for the socket that commands use while a server runs.
package depot
