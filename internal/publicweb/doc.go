// Package publicweb has what an HTTP listener needs that anybody can reach: bounds on its connections, deadlines that move
// with the bytes, and a gentle end. The depot and the cache node serve with it.
//
// It trusts no client: one that is slow, opens many connections or sends endless headers costs a place for a bounded time and
// holds up nobody else.
//
// Start reading at NewServer, then Writer.
package publicweb
