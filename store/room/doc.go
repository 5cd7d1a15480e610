// Package room keeps a store within its limits: what it may take in all, how long it keeps what nobody uses, and what stays
// free on the disk for others. What is least useful goes first.
//
// How useful content is, is one point in time, its worth: the moment of the last use, and a day later for each doubling of
// the uses before it, of which a use counts half after a day. So content that eight devices took this morning outlives, by
// three days, what one took at noon; and a favourite of last year goes before what came yesterday. Size is left out on purpose.
// What a byte in a store saves is how often it is asked for, and a large content that costs ten times as much room has, at
// each use, ten times as many bytes not drawn from the origin. Of equals the largest goes, because that is fewest.
//
// A use is counted in bytes given away: half of the content is half a use, and a thousand small ranges of it are not a
// thousand. Uses are kept in memory and written down once a minute, as the times of the files that they are about, which
// takes no room and no second book. A crash costs the last minute of them.
//
// It never deletes what is pinned, what is being fetched, what the owner of the store says is in use, and no partial content
// that was written to within the hour. It trusts the folder to say what is there, and looks again every ten minutes, because
// other processes may work beside this one. The clock may jump: a use that lies in the future counts as one of now.
//
// It starts no goroutine. Start reading at Keeper, then excess.go for what goes.
package room
