package install

import (
	"context"
	"fmt"
)

// Item is one entry of the inventory, compared with what is there.
type Item struct {
	Record
	Present bool  // the handler found what the record says; false also when it could not tell
	Err     error // why it could not tell
}

// Installed returns the inventory, sorted by publisher and id, with the handlers' word on each entry. It takes no lock:
// while another process installs, an entry is the old or the new one.
func (i *Installer) Installed(ctx context.Context) ([]Item, error) {
	records, err := i.records()
	if err != nil {
		return nil, fmt.Errorf("read inventory: %w", err)
	}
	items := make([]Item, 0, len(records))
	for _, r := range records {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		item := Item{Record: *r}
		if h := i.cfg.Handlers[r.Handler]; h != nil {
			item.Present, item.Err = h.Installed(ctx, r)
		} else {
			item.Err = fmt.Errorf("look for %s: this device has no handler %q any more", r.ID, r.Handler)
		}
		item.Present = item.Present && item.Err == nil
		items = append(items, item)
	}
	return items, nil
}
