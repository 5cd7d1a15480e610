// Package pair measures one link: a seeder and a leecher on loopback, each a process with an address of its own. Dunlin and
// libtorrent take turns with the same file and the same metainfo (BitTorrent v2: SHA-256), and curl from nginx followed by
// sha256sum is the floor: what the bytes cost without pieces, peers and encryption. It prints figures and their ratios
// within one run, and judges no absolute time.
//
// It needs root (as everything that DUNLIN_E2E=1 asks for), nginx, curl, cmp, sha256sum and libtorrent for Python. Start
// reading at TestPair.
package pair
