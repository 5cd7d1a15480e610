package archive

import (
	"errors"
	"strings"
)

// follow goes where a symlink leads, element by element as a kernel does: one link's text may look harmless and lead out
// over another link. A name that is not there is no harm. It is no more lenient than os.Root, which has bounds of its own
// and is asked again when the archive is unpacked.
func (w *walk) follow(name string) error {
	f := follower{walk: w, rest: strings.Split(name, "/")}
	for len(f.rest) > 0 {
		if there, err := f.step(); err != nil || !there {
			return err
		}
	}
	return nil
}

// follower is on its way along a path.
type follower struct {
	walk  *walk
	at    []string // where it is, below the folder; only folders, but for a file at the end
	rest  []string // elements still to go
	links int      // gone over
	turns int      // upwards
	up    bool     // the step before was one upwards: it belongs to the same turn
}

func (f *follower) step() (there bool, err error) {
	element := f.rest[0]
	f.rest = f.rest[1:]
	switch element {
	case "", ".":
		return true, nil
	case "..":
		return true, f.upwards()
	}
	f.up = false
	f.at = append(f.at, element)
	here := strings.Join(f.at, "/")
	switch f.walk.seen[here] {
	case folder:
		return true, nil
	case symlink:
		return true, f.jump(f.walk.targets[here])
	case file:
		if len(f.rest) > 0 {
			return true, errors.New("it leads through a file")
		}
		return true, nil
	default:
		return false, nil
	}
}

func (f *follower) upwards() error {
	if len(f.at) == 0 {
		return errors.New("it leads out of the folder")
	}
	if !f.up {
		f.turns++
	}
	if f.up = true; f.turns > MaxFollow {
		return errors.New("it turns upwards too often")
	}
	f.at = f.at[:len(f.at)-1]
	return nil
}

// jump goes on with the text of a link in place of its name.
func (f *follower) jump(target string) error {
	if f.links++; f.links > MaxFollow {
		return errors.New("it leads in circles, or over too many links")
	}
	f.at = f.at[:len(f.at)-1]
	f.rest = append(strings.Split(target, "/"), f.rest...)
	return nil
}
