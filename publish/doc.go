// Package publish is the publisher's side: it keeps one catalogue in one folder, from making the keys to releasing.
//
//	DIR/public        all that a web server may ever see: metadata/, content/<root>, layer/<root>; static files
//	DIR/keys/offline  root, targets, payload, ca, ca-backup: encrypted with the passphrase, to be moved away
//	DIR/keys/online   online: signs snapshot and timestamp, so that `refresh` needs nobody
//	DIR/state         the record of the repository, settings, what is staged: private, and all that is believed
//	DIR/tls           server certificates for the web server
//	DIR/publisher.trust, ca.pem, payload.pub   public, to be handed out
//
// An update goes two steps. Add copies and hashes the payload, signs it with the payload key and stages its record;
// nobody sees it. Release signs the catalogue with everything that is staged. Either may be interrupted anywhere: the
// release before stands until the new one is whole.
//
// What a device would refuse is refused here already. The package trusts the private folders and the keys; the public
// folder is written and never believed. Start reading at Publisher.Add (add.go) and Publisher.Release (release.go).
package publish
