// Package tuftest makes TUF repositories in memory, for tests that attack their readers.
//
// It signs whatever it is told to, also what no honest repository would say: every field of its metadata may be changed
// before it is published. Keys come from a seed, so that a failing test fails again. It is for tests only and trusts
// nobody, since nobody trusts it. Start reading at Repo.
package tuftest
