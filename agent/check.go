package agent

import (
	"context"
	"fmt"

	"github.com/dunlin-project/dunlin/install"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/store"
)

// check has the installer verify a payload. One that does not check out may have rotted on this disk since it was fetched:
// then what is damaged is fetched again, once. The file that is returned is the one that was verified; on an error there
// is none.
func (a *Agent) check(ctx context.Context, w *work, f *store.File) (*store.File, *install.Verified, error) {
	checked, err := a.verify(ctx, w, f)
	if err == nil {
		return f, checked, nil
	}
	if !fault.Is(err, fault.Untrusted) {
		a.closeFile(ctx, f)
		return nil, nil, err
	}
	f, mended, repairErr := a.repair(ctx, w, f)
	if repairErr != nil {
		return nil, nil, fmt.Errorf("mend stored content: %w", repairErr)
	}
	if mended {
		if checked, err = a.verify(ctx, w, f); err == nil {
			return f, checked, nil
		}
	}
	a.closeFile(ctx, f)
	return nil, nil, err
}

func (a *Agent) verify(ctx context.Context, w *work, f *store.File) (*install.Verified, error) {
	signature, err := a.signature(ctx, w)
	if err != nil {
		return nil, err
	}
	payload, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer payload.Close()
	return a.device.installer.Verify(ctx, install.Request{
		Payload: payload, Bundle: w.Bundle, Update: w.Key, Version: w.Update.Version, Signature: signature, Now: w.View.Now(),
	})
}

// signature fetches the publisher's signature where the record only says where it is. A publisher's word may not lead this
// device to addresses of its own network, but for what the organisation itself has named.
func (a *Agent) signature(ctx context.Context, w *work) ([]byte, error) {
	at := w.Update.Signature.URL
	if at == "" {
		return nil, nil
	}
	b, err := a.gate.GetHinted(ctx, at, a.bases(w), metadata.MaxSignature)
	if err != nil {
		return nil, fmt.Errorf("fetch the payload's signature: %w", err)
	}
	return b, nil
}
