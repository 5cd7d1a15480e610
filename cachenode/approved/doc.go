// Package approved is the catalogue of a cache node that has joined an organisation: the content of every update that is
// approved for one of its rings. It learns of approvals as a device does (package metadata/member), over pinned TLS and
// verified against the anchor that came with the join token.
//
// What it has learnt it keeps in a private folder, so that a node whose depot is away, or whose metadata has run out, goes on
// with what was last verified: it serves and fetches what it knew, learns nothing new, fetches nothing ahead, and does not
// give away what it may not. What may not be given away is content that an approval keeps from being exchanged, and content
// that is not approved any more.
//
// It trusts its folder, as the store trusts its own, and what package metadata verifies. Start reading at Catalogue
// (catalogue.go), then learn.go for how a view becomes a ledger.
package approved
