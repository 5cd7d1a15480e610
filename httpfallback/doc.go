// Package httpfallback is the origin of content: byte ranges of one file over HTTP, from one or several mirrors.
//
// Gate is the one door of a process to the web: it holds the connections, so that no origin byte can come by another
// way, and it admits, limits and counts. It never decides what to fetch: that is package fetch's. Origin is one file at
// its URLs and implements fetch.Origin: it gets the ranges it is told to, mends broken ones from the last byte, goes
// from mirror to mirror, and hands each piece on the moment it is whole.
//
// It trusts nothing that a server says. Status, Content-Range and lengths must fit to the byte, what they promise is
// bounded by what was asked, bytes count only after the sink has checked them, and a mirror that sends a wrong piece
// is dropped for that content. TLS adds nothing to this and is not asked for. Addresses are judged after DNS, when the
// connection is made (dial.go): what a publisher or a redirect names must be on the public Internet.
//
// Every byte of a body is read before the next request goes out on its connection and counted as it is read, so that
// the counts equal the server's access log whenever no connection broke.
//
// Start reading at Origin.Fetch, then run (run.go), then mirror.go for who is asked.
package httpfallback
