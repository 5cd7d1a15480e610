//go:build anchor

// Package depsanchor keeps dependencies in go.mod until the packages that use them have landed; it goes away then.
package depsanchor

import (
	_ "aead.dev/minisign"
	_ "cel.dev/cel-go/cel"
	_ "filippo.io/age"
	_ "github.com/goccy/go-yaml"
	_ "github.com/klauspost/compress/zstd"
	_ "github.com/libp2p/go-libp2p"
	_ "github.com/libp2p/go-yamux/v5"
	_ "github.com/libp2p/zeroconf/v2"
	_ "github.com/multiformats/go-multiaddr"
	_ "github.com/prometheus/client_golang/prometheus/promhttp"
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "github.com/schollz/progressbar/v3"
	_ "github.com/sigstore/sigstore/pkg/signature"
	_ "github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"
	_ "github.com/urfave/cli/v2"
	_ "golang.org/x/crypto/blake2b"
	_ "golang.org/x/sync/errgroup"
	_ "golang.org/x/sys/unix"
	_ "golang.org/x/term"
	_ "golang.org/x/time/rate"
	_ "google.golang.org/protobuf/encoding/protowire"
)
