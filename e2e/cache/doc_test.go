// Package cache_test runs "dunlin cache" as a site does: a real process with a store on disk, a real nginx as origin, whose
// access log is the judge of what the site paid, curl as the device without an agent and "dunlin get" as the one with. Each
// has a loopback address of its own. It trusts nginx's arithmetic and SHA-256. Start reading at TestTwelveClientsOneCopy.
package cache_test
