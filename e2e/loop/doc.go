// Package loop runs real programs on loopback addresses of this machine, for tests of one command among others: dunlin, whose
// events are read as they come, and nginx, whose access log says what was fetched from it. Whatever runs ends with the test.
//
// It trusts nginx's arithmetic and the machine. Start reading at Start and at StartNginx.
package loop
