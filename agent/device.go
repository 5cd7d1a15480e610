package agent

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/dunlin-project/dunlin/install"
	"github.com/dunlin-project/dunlin/install/handler"
	"github.com/dunlin-project/dunlin/metadata"
)

// device is this machine: what it is, what is installed on it, and the installer.
type device struct {
	rules     *metadata.Rules
	installer *install.Installer
	handlers  map[string]install.Handler // that the configuration allows
	log       *slog.Logger
}

func newDevice(cfg Config, dir stateDir, anchor []byte, log *slog.Logger) (*device, error) {
	d := &device{handlers: handler.All(), log: log}
	if len(cfg.Handlers) > 0 {
		maps.DeleteFunc(d.handlers, func(name string, _ install.Handler) bool { return !slices.Contains(cfg.Handlers, name) })
	}
	if cfg.Root != "" {
		delete(d.handlers, metadata.HandlerExec) // what it runs would see the machine, not the root
	}
	var err error
	if d.rules, err = metadata.NewRules(factsOf(cfg)); err != nil {
		return nil, err
	}
	d.installer, err = install.New(install.Config{
		Dir: dir.install(), Root: cfg.Root, Anchor: anchor, Ring: cfg.Ring, Handlers: d.handlers, Log: log,
	})
	return d, err
}

// inventory returns what is in place. What the records say and nobody finds any more counts as not installed, so that it
// is installed again.
func (d *device) inventory(ctx context.Context) (map[metadata.Key]installed, error) {
	items, err := d.installer.Installed(ctx)
	if err != nil {
		return nil, fmt.Errorf("take inventory: %w", err)
	}
	have := make(map[metadata.Key]installed)
	for _, i := range items {
		if i.Present {
			have[i.Key()] = installed{i.Version, i.Release, i.SHA256, i.Installed, i.Reboot}
			continue
		}
		d.log.WarnContext(ctx, "an installed update is not in place (any more)",
			slog.String("update", i.Publisher+"/"+i.ID+"@"+i.Version), slog.Any("err", i.Err))
	}
	return have, nil
}

func (d *device) policy(id string) policy {
	return policy{device: id, handlers: slices.Sorted(maps.Keys(d.handlers))}
}

const (
	osRelease    = "/etc/os-release"
	maxOSRelease = 64 << 10 // bytes
)

// factsOf says what this machine is. What cannot be found out stays empty: a rule that asks for it does not apply.
func factsOf(cfg Config) metadata.Facts {
	f := metadata.Facts{OS: runtime.GOOS, Arch: runtime.GOARCH, Labels: make(map[string]string)}
	f.Hostname, _ = os.Hostname()
	if b, err := readBounded(osRelease, maxOSRelease); err == nil {
		f.Distribution, f.Version = parseOSRelease(b)
	}
	for name, value := range cfg.Labels {
		f.Labels[name] = string(value)
	}
	return f
}

// parseOSRelease reads ID and VERSION_ID of os-release(5): assignments as a shell would take them, without expansion.
func parseOSRelease(b []byte) (id, version string) {
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		name, value, ok := strings.Cut(strings.TrimSpace(lines.Text()), "=")
		if !ok {
			continue
		}
		if len(value) >= 2 && (value[0] == '"' || value[0] == '\'') && value[len(value)-1] == value[0] {
			value = value[1 : len(value)-1]
		}
		switch name {
		case "ID":
			id = value
		case "VERSION_ID":
			version = value
		}
	}
	return id, version
}
