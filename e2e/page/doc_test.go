// Package page_test opens the pages of agents and of a cache node in a real Chromium, while a small site of real processes
// moves real updates: a publisher behind a thin line, a depot, a node and devices on loopback. axe-core (testdata/axe-core,
// with its licence) judges whether the pages can be used by everybody.
//
// It trusts Chromium's word on what it asked for and what it forbade. Start reading at TestPages. With -args -screenshots DIR
// it leaves pictures of the pages there, as docs/screenshots has them.
package page_test
