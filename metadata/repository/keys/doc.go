// Package keys keeps secret keys in files: DIR/online for what a server signs with unattended, DIR/offline for what may
// be carried away on a stick and is encrypted with a passphrase.
//
// Every file has mode 0600 and is never overwritten. An online key is PKCS #8 in PEM, so that openssl reads it; an
// offline one is the same inside an armoured age file with a scrypt recipient, so that `age -d` opens it without this
// program. A key file is refused when somebody else could have read it (online) or exchanged it (both).
//
// The package trusts the file system's owner and modes, and nothing that it reads before the passphrase has proved it.
// Start reading at Store.
package keys
