// Package readme runs the README: the commands of its five-minute start, as they stand there, on hosts in network
// namespaces. It trusts what the page says, and nothing else. Start reading at TestFiveMinutes.
package readme
