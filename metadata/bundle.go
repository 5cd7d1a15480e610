package metadata

// Files are raw files of one repository, keyed by their place below its base: "metadata/timestamp.json",
// "metadata/3.targets.json", "targets/publisher/<sha256>.acme". The bytes are as they were signed.
type Files map[string][]byte

// Bundle is the raw bytes of everything a View was made from, and no proof of anything: Open checks them. It is kept at
// an installation, so that what was decided then can be checked again later and without a network.
type Bundle struct {
	Approvals  Files            // the organisation's repository, with the catalogue roots of the publishers
	Catalogues map[string]Files // by publisher
}
