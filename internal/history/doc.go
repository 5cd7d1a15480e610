// Package history remembers how many bytes of content came and went: by the minute for hours, by the hour for weeks. It is
// fed with counters that grow as long as a process lives, and keeps the differences in a file, so that what a machine has
// saved outlives its restarts.
//
// It trusts nobody's clock: time that jumps ahead costs nothing that was noted before, time that falls back is believed only
// after a while. A file that is damaged is set aside, never half believed. Its size is bounded whatever happens.
//
// Start reading at History.
package history
