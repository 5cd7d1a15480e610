package install

import (
	"context"
)

// Handler puts one kind of update in place. Package install/handler has those of this project.
type Handler interface {
	// Installed reports whether what the record says is in place, as far as that can be told without reading all of it.
	// An error means that it could not be told.
	Installed(ctx context.Context, r *Record) (bool, error)

	// Apply puts the payload in place. Everything that others can see is changed by t, so that it can be taken back: what
	// Apply itself writes lies in a Place of t, under the names it began with, and Apply needs to tidy up nothing. It
	// must end soon after ctx does. Errors get kind fault.Install unless they have one.
	Apply(ctx context.Context, v *Verified, t *Transaction) (Outcome, error)
}

// Outcome is what came of an installation.
type Outcome struct {
	Reboot   bool   // the update asks for one
	Evidence string // becomes Record.Evidence; at most 4 KiB
	Output   string // the end of what a program printed; not to be trusted, quote it
}

// maxEvidence bounds Outcome.Evidence, in bytes.
const maxEvidence = 4 << 10
