// Package urlcache keeps files that are known only by their URL, for a cache node: in slices of a fixed grid, each fetched
// once however many wait for it, as HTTP caching allows (RFC 9111).
//
// A request names its origin in the form of Connected Cache, /path?query&cacheHostOrigin=HOST. Only origins on the node's own
// list are asked, through the gate of package httpfallback. There is no hash that such a file could be held against, so what
// counts is that no two versions of it are ever mixed: every slice belongs to one generation, which is one strong validator
// at one URL, and each answer to one generation. What cannot be told apart so, or must not be shared, is passed through and
// not kept.
//
// It trusts an origin to be the owner of its URLs, and nothing else that it says: status, Content-Range, lengths and
// validators of each answer must fit to what was asked, and to the generation. It does not trust the disk: a slice is hashed
// before it first leaves after a start, and again every day.
//
// Cache.mu guards the table of entries, what is known of each URL, and the account of bytes; generation.mu guards what is there
// and on its way of one version. Cache.mu is taken first. No I/O is done under either, but closing files that nobody uses any
// more.
//
// Start reading at Cache.Serve (cache.go), then entry.go and inquire.go for how a URL becomes a generation, plan.go and
// stream.go for how slices are fetched, answer.go for how they are sent, and inuse.go for how long files stay open.
package urlcache
