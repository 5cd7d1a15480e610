package depot

import (
	"strings"

	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/piecehash"
)

// class says how a public file behaves, and so how it is served.
type class uint8

const (
	classVolatile class = iota // small, replaced in place: timestamp.json, ca.pem
	classSigned                // small, never changes under its name: versioned metadata, files of targets
	classBulk                  // any size, named by its root, served in ranges: content and piece layers
)

// place is a public file. Only parseSecure and parsePlain make one, so that its name is of one of the shapes they know.
type place struct {
	name  string // below public, with forward slashes
	class class
	root  string // bulk only: the root that names the bytes
}

// The folders below public.
const (
	approvalsDir  = "v1/approvals"
	catalogueDir  = "v1/catalogue"
	layerDir      = "v1/layer"
	contentDir    = "content"
	caFile        = "ca.pem"
	timestampFile = "timestamp.json"
)

// parsePath is parseSecure or parsePlain.
type parsePath func(escaped string) (place, bool)

// parseSecure takes the path of a request to the TLS listener, as it stood in the request: an escape is never needed, so
// there is none in any path it knows.
func parseSecure(path string) (place, bool) {
	name := strings.TrimPrefix(path, "/")
	if len(name) == len(path) || len(path) > maxPath {
		return place{}, false
	}
	if file, ok := strings.CutPrefix(name, approvalsDir+"/metadata/"); ok {
		return metadataPlace(name, file)
	}
	if file, ok := strings.CutPrefix(name, approvalsDir+"/targets/"); ok {
		return place{name: name, class: classSigned}, isTargetFile(file)
	}
	if rest, ok := strings.CutPrefix(name, catalogueDir+"/"); ok {
		publisher, file, ok := strings.Cut(rest, "/metadata/")
		if !ok || metadata.CheckPublisher(publisher) != nil {
			return place{}, false
		}
		return metadataPlace(name, file)
	}
	if root, ok := strings.CutPrefix(name, layerDir+"/"); ok {
		return bulkPlace(name, root)
	}
	return place{}, false
}

// parsePlain takes the path of a request to the plain HTTP listener.
func parsePlain(path string) (place, bool) {
	if path == "/"+caFile {
		return place{name: caFile, class: classVolatile}, true
	}
	if root, ok := strings.CutPrefix(path, "/"+contentDir+"/"); ok {
		return bulkPlace(path[1:], root)
	}
	return place{}, false
}

// maxPath bounds a path, in bytes; the longest that can exist is far below.
const maxPath = 256

func bulkPlace(name, root string) (place, bool) {
	_, err := piecehash.ParseRoot(root)
	return place{name: name, class: classBulk, root: root}, err == nil
}

func metadataPlace(name, file string) (place, bool) {
	if file == timestampFile {
		return place{name: name, class: classVolatile}, true
	}
	return place{name: name, class: classSigned}, isVersionedRole(file)
}

// isVersionedRole takes "<version>.<role>.json". The timestamp has no version.
func isVersionedRole(file string) bool {
	const maxDigits = 15
	stem, ok := strings.CutSuffix(file, ".json")
	version, role, dot := strings.Cut(stem, ".")
	if !ok || !dot || len(version) == 0 || len(version) > maxDigits || version[0] == '0' {
		return false
	}
	for _, c := range []byte(version) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return role != "timestamp" && metadata.CheckPublisher(role) == nil // the same letters and length
}

// isTargetFile takes the files of the approvals' own targets, "publisher/<sha256>.<name>" and "<sha256>.fleet".
func isTargetFile(file string) bool {
	file, ofPublisher := strings.CutPrefix(file, "publisher/")
	sum, name, ok := strings.Cut(file, ".")
	if _, err := piecehash.ParseHash(sum); !ok || err != nil {
		return false
	}
	if ofPublisher {
		return metadata.CheckPublisher(name) == nil
	}
	return name == metadata.FleetTarget
}
