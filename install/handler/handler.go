package handler

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"strings"

	"github.com/dunlin-project/dunlin/install"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

// All returns the handlers of this project by the names that records use.
func All() map[string]install.Handler {
	return map[string]install.Handler{
		metadata.HandlerFile: File{},
		metadata.HandlerTree: Tree{},
		metadata.HandlerExec: Exec{},
	}
}

// owner is a user and a group; the zero value is whoever installs.
type owner struct {
	set      bool
	uid, gid int
}

// parseOwner looks up "user" or "user:group". A user alone brings his own group.
func parseOwner(s string) (owner, error) {
	if s == "" {
		return owner{}, nil
	}
	name, group, both := strings.Cut(s, ":")
	u, err := user.Lookup(name)
	if err != nil {
		return owner{}, noOwner(s, err)
	}
	gid := u.Gid
	if both {
		g, err := user.LookupGroup(group)
		if err != nil {
			return owner{}, noOwner(s, err)
		}
		gid = g.Gid
	}
	o := owner{set: true}
	var errU, errG error
	o.uid, errU = strconv.Atoi(u.Uid)
	o.gid, errG = strconv.Atoi(gid)
	if err := errors.Join(errU, errG); err != nil {
		return owner{}, noOwner(s, err)
	}
	return o, nil
}

func noOwner(s string, err error) error {
	return fault.WithHint(fault.New(fault.Install, "find owner %q: %w", s, err), "make this user on the device first")
}

// wrap says which step failed.
func wrap(step string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", step, err)
}
