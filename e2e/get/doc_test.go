// Package get_test runs "dunlin get" as users do: real processes, each on a loopback address of its own, with a real
// nginx as origin, whose access log is the judge of what the site paid. It trusts nginx's arithmetic and libtorrent's
// trees. Start reading at TestThreeShare.
package get_test
