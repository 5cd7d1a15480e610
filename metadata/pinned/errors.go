package pinned

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// PinError says that somebody else than the pinned authority vouches for the server. Its kind is untrusted.
type PinError struct {
	Host          string // host and port that were asked for
	Issuer        string // who issued the certificate that was shown
	SPKI          Pin    // key of that issuer if it was shown, else of the server
	Want          []Pin
	SystemTrusted bool   // this machine trusts the issuer: a sign of a TLS-inspecting proxy
	Vendor        string // of the inspecting proxy, if the issuer's name tells it
	Proxy         string // the configured proxy that was in use, without its password
}

func (e *PinError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s shows a certificate of %.100q with key %s, which is not pinned", e.Host, e.Issuer, e.SPKI)
	switch {
	case e.Vendor != "":
		fmt.Fprintf(&b, "; it is that of a TLS-inspecting proxy, probably %s", e.Vendor)
	case e.SystemTrusted:
		b.WriteString("; this machine trusts it, so a TLS-inspecting proxy is probably in between")
	}
	if e.Proxy != "" {
		fmt.Fprintf(&b, " (asked through the proxy %s)", e.Proxy)
	}
	return b.String()
}

func (e *PinError) hint() string {
	if e.SystemTrusted || e.Vendor != "" {
		return fmt.Sprintf("exempt %s from TLS inspection", e.Host)
	}
	return fmt.Sprintf("compare the key with %s; if the server was set up anew on purpose, give this machine the new pin", joinPins(e.Want))
}

func joinPins(pins []Pin) string {
	text := make([]string, len(pins))
	for i, p := range pins {
		text[i] = p.String()
	}
	return strings.Join(text, ", ")
}

// TimeError says that the server's certificate is not valid at this time. Its kind is untrusted.
type TimeError struct {
	Host                     string
	NotBefore, NotAfter, Now time.Time
}

func (e *TimeError) Error() string {
	word := "has run out"
	if e.Now.Before(e.NotBefore) {
		word = "is not valid yet"
	}
	return fmt.Sprintf("the certificate of %s %s: it is valid from %s to %s, and it is %s now", e.Host, word,
		e.NotBefore.UTC().Format(time.RFC3339), e.NotAfter.UTC().Format(time.RFC3339), e.Now.UTC().Format(time.RFC3339))
}

// HostError says that the server's certificate is for other names. Its kind is untrusted.
type HostError struct {
	Host  string
	Names []string // names and addresses the certificate is for, at most eight
}

func (e *HostError) Error() string {
	return fmt.Sprintf("the certificate shown by %s is for %.200q", e.Host, strings.Join(e.Names, ", "))
}

// UsageError says that the server's certificate is not one for servers, or breaks another rule of its authority. Its
// kind is untrusted.
type UsageError struct {
	Host string
	Err  error
}

func (e *UsageError) Error() string {
	return fmt.Sprintf("the certificate shown by %s cannot be used: %v", e.Host, e.Err)
}

// Unwrap returns what the standard library said.
func (e *UsageError) Unwrap() error { return e.Err }

// attempt is one handshake that failed.
type attempt struct {
	*dialer
	addr, host string
	proxy      *url.URL
	at         time.Time // that the certificate was looked at
}

// explain turns the error of a handshake into one that a person can act on. What is not about a certificate is a server
// that does not work: no TLS, an old version, a connection that broke.
func (a attempt) explain(err error) error {
	var failed *tls.CertificateVerificationError
	switch {
	case errors.Is(err, errNoPin):
		return a.pinError(nil)
	case errors.Is(err, errNoUsage):
		return fault.Wrap(fault.Untrusted, &UsageError{a.addr, errNoUsage})
	case errors.As(err, &failed) && len(failed.UnverifiedCertificates) > 0:
		return a.explainCertificate(failed)
	}
	return fault.WithHint(fault.New(fault.Unavailable, "connect to %s: %w", a.addr, err), "check that %s serves TLS 1.3", a.addr)
}

func (a attempt) explainCertificate(failed *tls.CertificateVerificationError) error {
	shown := failed.UnverifiedCertificates
	var wrongHost x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(failed.Err, &wrongHost):
		return fault.WithHint(fault.Wrap(fault.Untrusted, &HostError{a.addr, certNames(shown[0])}), "use a name the certificate is for, or have one issued for this name")
	case errors.As(failed.Err, &invalid) && invalid.Reason == x509.Expired:
		err := &TimeError{a.addr, invalid.Cert.NotBefore, invalid.Cert.NotAfter, a.at}
		return fault.WithHint(fault.Wrap(fault.Untrusted, err), "check the clock of this machine; if it is right, the server needs a new certificate")
	case errors.As(failed.Err, &invalid):
		return fault.Wrap(fault.Untrusted, &UsageError{a.addr, invalid})
	}
	return a.pinError(shown)
}

func certNames(c *x509.Certificate) []string {
	names := append([]string{}, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return names[:min(len(names), 8)]
}

// pinError describes who answered. shown is nil when the chain led to the configured authority, whose key is not pinned.
func (a attempt) pinError(shown []*x509.Certificate) error {
	e := &PinError{Host: a.addr, Issuer: "the configured authority", Want: a.pins}
	if a.proxy != nil {
		e.Proxy = a.proxy.Redacted()
	}
	if len(shown) > 0 {
		top := shown[len(shown)-1]
		e.Issuer, e.SPKI = top.Issuer.String(), Of(top)
		e.Vendor = inspector(e.Issuer)
		e.SystemTrusted = a.systemTrusts(shown)
	}
	return fault.WithHint(fault.Wrap(fault.Untrusted, e), "%s", e.hint())
}

func (a attempt) systemTrusts(shown []*x509.Certificate) bool {
	roots, err := a.system()
	if err != nil {
		return false
	}
	between := x509.NewCertPool()
	for _, c := range shown[1:] {
		between.AddCert(c)
	}
	_, err = shown[0].Verify(x509.VerifyOptions{DNSName: a.host, Roots: roots, Intermediates: between, CurrentTime: a.at})
	return err == nil
}

// inspector names the maker of a TLS-inspecting proxy by the name of its authority, or "".
func inspector(issuer string) string {
	for _, name := range []string{
		"Aruba", "Avast", "Barracuda", "Bitdefender", "Blue Coat", "Check Point", "Cisco", "ESET", "Forcepoint", "FortiGate",
		"Fortinet", "Huawei", "Kaspersky", "mitmproxy", "Netskope", "Palo Alto", "Skyhigh", "SonicWall", "Sophos", "Squid",
		"Trend Micro", "Ubiquiti", "WatchGuard", "Zscaler",
	} {
		if strings.Contains(strings.ToLower(issuer), strings.ToLower(name)) {
			return name
		}
	}
	return ""
}
