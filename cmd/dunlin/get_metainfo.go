package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

// loadMetainfo reads the metainfo file at a path or URL.
func loadMetainfo(ctx context.Context, gate *httpfallback.Gate, source string) (*piecehash.Metainfo, error) {
	read, bad := readMetainfo, fault.Usage
	if strings.HasPrefix(source, "http://") || strings.HasPrefix(source, "https://") {
		bad = fault.Unavailable // what a server sends is not the user's fault
		read = func(source string) ([]byte, error) { return gate.Get(ctx, source, piecehash.MaxMetainfoSize) }
	}
	b, err := read(source)
	if err != nil {
		return nil, err
	}
	m, err := piecehash.ParseMetainfo(b)
	var unsupported *piecehash.Unsupported
	var lie *piecehash.Mismatch
	switch {
	case errors.As(err, &unsupported):
		err = fault.WithHint(fault.New(fault.Refused, "read %s: %w", source, err),
			"dunlin takes BitTorrent v2 and hybrid files about a single file: make one with \"dunlin hash\"")
	case errors.As(err, &lie):
		err = fault.New(fault.Untrusted, "read %s: %w", source, err)
	case err != nil:
		err = fault.WithHint(fault.New(bad, "read %s: %w", source, err), "is it a .torrent file?")
	}
	return m, err
}

func readMetainfo(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.New(fault.Usage, "read metainfo: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, piecehash.MaxMetainfoSize+1))
	if err == nil && len(b) > piecehash.MaxMetainfoSize {
		err = fmt.Errorf("%s is larger than %d bytes", path, piecehash.MaxMetainfoSize)
	}
	if err != nil {
		return nil, fault.New(fault.Usage, "read metainfo: %w", err)
	}
	return b, nil
}
