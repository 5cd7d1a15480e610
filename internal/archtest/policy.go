package archtest

// module is the path that our own imports begin with.
const module = "github.com/dunlin-project/dunlin"

// layers says which of our packages a package may import, itself and its sub-packages apart. A sub-package has the row of
// the nearest folder above it that has one, and who may import a package may import its sub-packages. "*" is everything.
//
// What piecehash names is the vocabulary of all the others, so it may be imported wherever a row has any of them.
const layers = `
	piecehash:

	internal/fault:
	internal/durable:   internal/fault
	internal/filelock:  internal/fault
	internal/archive:   internal/fault
	internal/window:    internal/fault
	internal/life:
	internal/publicweb:
	internal/history:   internal/fault internal/durable

	metadata:           base piecehash
	store:              base piecehash
	fetch:              base piecehash store
	internal/measure:   base piecehash fetch
	swarm/relay:        piecehash fetch
	swarm:              base piecehash store fetch swarm/relay internal/measure
	httpfallback:       base piecehash fetch
	install:            base piecehash metadata store internal/archive
	internal/page:      base piecehash fetch internal/history internal/publicweb
	agent:              base piecehash metadata store fetch httpfallback install internal/measure internal/page internal/history
	cachenode:          base piecehash metadata store fetch httpfallback internal/publicweb internal/measure internal/window internal/life internal/page internal/history
	depot:              base piecehash metadata store fetch httpfallback internal/publicweb
	publish:            base piecehash metadata internal/archive

	internal/archtest:
	internal/disktest:
	internal/sim:       base piecehash store fetch swarm/relay
	internal/boards:
	internal/demo:      *
	bench:              *
	e2e:                *
	cmd/dunlin:         *
`

// base stands for the packages that every layer above piecehash is built on.
const base = "internal/fault internal/durable internal/filelock"

// homes says where a dependency is at home: elsewhere it may not be imported. Sub-packages of the home may. A path that
// ends in "/..." is that path and all below; the longest one that fits decides, so a row without a home is a ban. "*" is
// everywhere, "tests" is test files (which may use every dependency that has a row), "metrics" is packages that have a
// metrics.go. Every dependency has a row, so a new one shows here.
const homes = `
	github.com/theupdateframework/go-tuf/v2/metadata:                  metadata
	github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata:  metadata
	github.com/theupdateframework/go-tuf/v2/...:
	github.com/sigstore/sigstore/pkg/signature:                        metadata
	cel.dev/cel-go/...:                                                metadata
	filippo.io/age/...:                                                metadata

	github.com/libp2p/...:                                             swarm
	github.com/libp2p/go-libp2p/p2p/discovery/mdns/...:
	github.com/multiformats/...:                                       swarm
	google.golang.org/protobuf/encoding/protowire:                     swarm

	github.com/klauspost/compress/...:                                 metadata swarm install internal/archive internal/demo
	aead.dev/minisign:                                                 install publish
	github.com/smallstep/pkcs7:                                        install
	golang.org/x/crypto/blake2b:                                       install metadata/metadatatest
	go.etcd.io/bbolt:                                                  store
	github.com/goccy/go-yaml/...:                                      agent cmd/dunlin
	github.com/danielgtaylor/huma/v2/...:                              agent
	modernc.org/sqlite:                                                depot
	github.com/jackc/pgx/v5/...:                                       depot

	github.com/prometheus/client_golang/...:                           metrics cmd/dunlin
	github.com/urfave/cli/v2:                                          cmd/dunlin
	github.com/schollz/progressbar/v3:                                 cmd/dunlin
	golang.org/x/term:                                                 cmd/dunlin
	github.com/rogpeppe/go-internal/...:                               tests
	github.com/chromedp/...:                                           tests
	golang.org/x/sync/...:                                             *
	golang.org/x/net/...:                                              swarm
	golang.org/x/sys/...:                                              *
	golang.org/x/time/rate:                                            *
`

// standardOnly lists the packages that others may want to import alone: they import nothing but the standard library.
const standardOnly = "piecehash"
