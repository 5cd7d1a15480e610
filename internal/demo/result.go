package demo

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"text/tabwriter"
)

// result puts together what the devices say, what the logs say, and what lies on the disks.
func (s *stage) result() (*Result, error) {
	want, err := hashFile(s.source)
	if err != nil {
		return nil, err
	}
	r := &Result{ContentBytes: s.length, SHA256: want, Seconds: s.took.Seconds()}
	for _, d := range s.devices {
		got, err := hashFile(s.installed(d))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		t := d.status.Transfer
		r.Devices = append(r.Devices, Device{
			Name: d.name, Addr: d.addr, From: From(t.From), Waste: t.Waste, Seconds: t.Seconds,
			SHA256: got, Installed: got == want,
		})
		r.OriginBytes += t.From.Origin
	}
	if s.node != nil {
		if r.Cache, err = s.node.received(); err != nil {
			return nil, err
		}
		r.OriginBytes += r.Cache.From.Origin
	}
	for _, log := range []string{"origin.log", "depot.log"} {
		n, err := contentBytes(s.path(log))
		if err != nil {
			return nil, err
		}
		r.OriginLogged += n
	}
	r.Copies = float64(r.OriginBytes) / float64(r.ContentBytes)
	return r, r.check()
}

// check is an error when the demonstration did not show what it is there to show.
func (r *Result) check() error {
	for _, d := range r.Devices {
		if !d.Installed {
			return fmt.Errorf("%s: what lies at the destination has SHA-256 %q, want %s", d.Name, d.SHA256, r.SHA256)
		}
	}
	if r.OriginLogged < r.OriginBytes {
		return fmt.Errorf("%s %d bytes from the origin, its log only %d", r.who(), r.OriginBytes, r.OriginLogged)
	}
	return nil
}

func hashFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("hash %s: %w", name, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Write prints the table for people.
func (r *Result) Write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "device\tfrom origin\tfrom cache\tfrom peers\twaste\ttime\tSHA-256 of what is installed\t")
	rows := r.Devices
	if r.Cache != nil {
		rows = append(slices.Clone(rows), *r.Cache)
	}
	for _, d := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%.2f s\t%s\t\n",
			d.Name, mib(d.From.Origin), mib(d.From.Cache), mib(d.From.Peers), mib(d.Waste), d.Seconds, d.SHA256)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	separate := int64(len(r.Devices)) * r.ContentBytes
	_, err := fmt.Fprintf(w, "\n%s from the origin for %d devices: %.2f copies of %s. Separate downloads: %s.\n"+
		"The access logs say %d bytes, %s %d%s.\n",
		mib(r.OriginBytes), len(r.Devices), r.Copies, mib(r.ContentBytes), mib(separate),
		r.OriginLogged, r.who(), r.OriginBytes, r.difference())
	return err
}

// who says it of OriginBytes.
func (r *Result) who() string {
	if r.Cache != nil {
		return "devices and cache node say"
	}
	return "the devices say"
}

func (r *Result) difference() string {
	if d := r.OriginLogged - r.OriginBytes; d > 0 {
		return fmt.Sprintf(": %d were in flight when a connection ended", d)
	}
	return ""
}

func mib(n int64) string { return fmt.Sprintf("%.2f MiB", float64(n)/(1<<20)) }
