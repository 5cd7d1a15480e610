// Package archtest holds the plan of the house as a test: who may import whom, where each heavy dependency is at home,
// and that every package says what it is for.
//
// policy.go is the plan, taken from the package table of the design. It is policy: a violation is mended in the code, or
// decided anew in docs/decisions.md, not by widening a row to make a build pass. The checker parses imports itself; a test
// that asks the go command is answered from the test cache after another package has changed. It trusts the source tree
// it reads and nothing else, and only its own test uses it.
//
// Start reading at policy.go, then Check.
package archtest
