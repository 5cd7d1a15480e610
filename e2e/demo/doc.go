// Package demo runs "dunlin demo" and holds it to what the README says of it. It trusts nothing of the demonstration but
// the files that it publishes. Start reading at TestDemo.
package demo
