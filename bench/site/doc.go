// Package site measures a site: devices that want the same file from an origin behind a thin line, in network namespaces of
// this machine. Dunlin, libtorrent, aria2 and one plain curl (the bound) take turns on the same network with the same file
// (TestSite); then things go wrong while Dunlin fetches (TestDisturbances). It prints ratios within one run and judges nothing
// by absolute times; what must hold however busy the machine is, fails the test.
//
// It needs root, nginx, curl, and for the comparators python3-libtorrent and aria2. Start reading at plan and at scene.
package site
