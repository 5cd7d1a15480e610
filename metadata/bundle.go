package metadata

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/internal/strictjson"
)

// MaxBundleSize bounds an encoded bundle, in bytes.
const MaxBundleSize = 64 << 20

const (
	bundleFormat   = "dunlin-bundle/1"
	bundleDepth    = 3
	maxBundleFiles = 1 << 13 // of one repository
)

// Files are raw files of one repository, keyed by their place below its base: "metadata/timestamp.json",
// "metadata/3.targets.json", "targets/publisher/<sha256>.acme". The bytes are as they were signed.
type Files map[string][]byte

// Bundle is the raw bytes of everything a View was made from, and no proof of anything: Open checks them. It is kept at
// an installation, so that what was decided then can be checked again later and without a network.
type Bundle struct {
	Approvals  Files            // the organisation's repository, with the catalogue roots of the publishers
	Catalogues map[string]Files // by publisher
}

// bundleFile is the encoded form: one JSON object, the files in base64.
type bundleFile struct {
	Format     string           `json:"format"`
	Approvals  Files            `json:"approvals"`
	Catalogues map[string]Files `json:"catalogues"`
}

// Encode returns the form that is kept on disk. Equal bundles have equal forms.
func (b Bundle) Encode() ([]byte, error) {
	f := bundleFile{bundleFormat, b.Approvals, b.Catalogues}
	if f.Approvals == nil {
		f.Approvals = Files{}
	}
	if f.Catalogues == nil {
		f.Catalogues = map[string]Files{}
	}
	out, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encode bundle: %w", err)
	}
	if len(out) > MaxBundleSize {
		return nil, fault.New(fault.Refused, "encode bundle: %d bytes, at most %d", len(out), MaxBundleSize)
	}
	return out, nil
}

// ParseBundle reads what Encode wrote. It checks the frame; what the files are worth is for Open to say. Errors are of
// kind untrusted.
func ParseBundle(b []byte) (Bundle, error) {
	var f bundleFile
	if err := strictjson.Unmarshal(b, strictjson.Limits{Bytes: MaxBundleSize, Depth: bundleDepth}, &f); err != nil {
		return Bundle{}, fault.New(fault.Untrusted, "read bundle: %w", err)
	}
	if f.Format != bundleFormat {
		return Bundle{}, fault.New(fault.Untrusted, "read bundle: format %.40q, want %q", f.Format, bundleFormat)
	}
	if err := f.Approvals.check(); err != nil {
		return Bundle{}, err
	}
	for name, files := range f.Catalogues {
		if err := firstError(CheckPublisher(name), files.check()); err != nil {
			return Bundle{}, fault.New(fault.Untrusted, "read bundle: %w", err)
		}
	}
	return Bundle{f.Approvals, f.Catalogues}, nil
}

// check refuses names that no repository has, so that nobody who writes the files out can be led elsewhere.
func (f Files) check() error {
	if len(f) > maxBundleFiles {
		return fault.New(fault.Untrusted, "read bundle: %d files, at most %d", len(f), maxBundleFiles)
	}
	for name := range f {
		inside := strings.HasPrefix(name, "metadata/") || strings.HasPrefix(name, "targets/")
		if !inside || len(name) > MaxPath || strings.Contains("/"+name+"/", "/../") || strings.Contains(name, "//") || strings.ContainsAny(name, "\\\x00") {
			return fault.New(fault.Untrusted, "read bundle: %.80q is no file of a repository", name)
		}
	}
	return nil
}
