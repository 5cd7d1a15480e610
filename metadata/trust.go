package metadata

// TrustFormat is the value of the field "format" of a trust file.
const TrustFormat = "dunlin-publisher-trust/1"

// Trust is the file publisher.trust: what an organisation is given once, out of band, to know a publisher by.
//
// It is one JSON object. Nothing in it is secret, and nothing vouches for it: whoever adds it compares Fingerprint with
// what the publisher says.
type Trust struct {
	Format     string       `json:"format"`            // TrustFormat
	Publisher  string       `json:"publisher"`         // CheckPublisher
	Root       []byte       `json:"root"`              // a root file of the catalogue, verbatim (base64 in JSON)
	Keys       []PayloadKey `json:"keys"`              // who signs payloads
	Catalogues []string     `json:"catalogues"`        // base URLs: https://..., or file:///... for a folder
	CA         string       `json:"ca,omitempty"`      // PEM, one certificate; required with https
	Pins       []Pin        `json:"pins,omitempty"`    // SPKI pins; required with https
	Origins    []string     `json:"origins,omitempty"` // http(s) base URLs of content: BASE/content/<root>
}
