package store

import "github.com/dunlin-project/dunlin/piecehash"

// Record is what Seal writes beside content.
func Record(m *piecehash.Manifest) []byte { return encodeRecord(m) }
