package install

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/dunlin-project/dunlin/install/internal/disk"
	"github.com/dunlin-project/dunlin/install/signature"
	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/internal/filelock"
	"github.com/dunlin-project/dunlin/metadata"
)

// Defaults of Config.
const (
	DefaultTimeout       = 30 * time.Minute
	DefaultHealthTimeout = time.Minute
	DefaultGrace         = 75 * time.Second // less than TimeoutStopSec of deploy/systemd/dunlin-agent.service
)

// Scheme checks a publisher's signature over a payload by its digests. Everything that does not check out is
// fault.Untrusted. signature.Minisign is one.
type Scheme interface {
	Verify(d signature.Digests, file []byte, key metadata.PayloadKey) (signature.Identity, error)
}

// Config says for whom an installer works. It comes from whoever set the machine up, never from whoever asks for an
// installation.
type Config struct {
	// Dir is the private folder (0700) of journal, floor, inventory and copies of payloads that could not be held in
	// place. It is made when missing. Programs are run from it, so its file system must not be mounted noexec.
	Dir string
	// Anchor is a root file of the approvals.
	Anchor []byte
	// Ring is the ring of this device: only what is approved for it is installed.
	Ring string
	// Root is put before every destination, for images and for several devices on one machine; empty: nothing is. It is
	// made when missing, and no symlink below it leads out of it. A program cannot be held below it: what has a health check
	// is refused, and do not give a handler that runs the payload together with it.
	Root string
	// Handlers by the name that records use. What needs one that is missing here (metadata.Update.Needs) is refused.
	Handlers map[string]Handler
	// Schemes of publishers' signatures by name. Nil: minisign. An empty map refuses everything.
	Schemes map[string]Scheme
	// Timeout bounds handlers whose record has none; 0 is DefaultTimeout.
	Timeout time.Duration
	// HealthTimeout bounds health checks whose record has none; 0 is DefaultHealthTimeout.
	HealthTimeout time.Duration
	// Grace is how long a program that has begun, and its health check, may go on after Apply's ctx was cancelled, within
	// their own timeouts: what a program did cannot be taken back, so it had better come to its end. 0 is DefaultGrace.
	Grace time.Duration
	// Log gets one record for each change of state. Nil discards.
	Log *slog.Logger
	// Probe is called between the steps of an installation, by their names, for tests that pull the plug there. Nil: none.
	Probe func(step string)
}

// Installer installs updates on one device. It is safe for concurrent use, also by several processes: one installs, the
// others wait.
type Installer struct {
	cfg    Config
	folder folder
}

// New checks the configuration and makes the folders. A folder that others could write to is fault.Refused.
func New(cfg Config) (*Installer, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Probe == nil {
		cfg.Probe = func(string) {}
	}
	if cfg.Schemes == nil {
		cfg.Schemes = map[string]Scheme{metadata.SchemeMinisign: signature.Minisign{}}
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.HealthTimeout == 0 {
		cfg.HealthTimeout = DefaultHealthTimeout
	}
	if cfg.Grace == 0 {
		cfg.Grace = DefaultGrace
	}
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	i := &Installer{cfg: cfg, folder: folder(cfg.Dir)}
	if err := i.folder.make(); err != nil {
		return nil, disk.Fault(fault.Internal, cfg.Dir, err)
	}
	return i, nil
}

// place is where a destination lies on this machine.
func (c *Config) place(destination string) string {
	if c.Root == "" || destination == "" {
		return destination
	}
	return filepath.Join(c.Root, destination)
}

func (c *Config) validate() error {
	switch {
	case !filepath.IsAbs(c.Dir):
		return fault.New(fault.Usage, "open installer: the state folder %q is not an absolute path", c.Dir)
	case len(c.Anchor) == 0:
		return fault.New(fault.Usage, "open installer: the trust anchor is missing")
	case c.Root != "" && !isAbsolute(c.Root):
		return fault.New(fault.Usage, "open installer: the root folder %q is not an absolute path in its shortest form", c.Root)
	case c.Timeout < 0 || c.HealthTimeout < 0 || c.Grace < 0:
		return fault.New(fault.Usage, "open installer: a time limit is negative")
	}
	return metadata.CheckRing(c.Ring)
}

// lock keeps other installers out of the folder until it is released.
func (i *Installer) lock(ctx context.Context) (*filelock.Lock, error) {
	lock, err := filelock.Acquire(ctx, i.folder.lock())
	return lock, disk.Fault(fault.Internal, i.cfg.Dir, err)
}

// folder is Config.Dir: where everything in it lies.
type folder string

func (f folder) join(name string) string { return filepath.Join(string(f), name) }
func (f folder) lock() string            { return f.join("lock") }
func (f folder) staging() string         { return f.join("staging") }
func (f folder) installed() string       { return f.join("installed") }
func (f folder) begun() string           { return f.join("begun") }   // a transaction that a crash takes back
func (f folder) decided() string         { return f.join("decided") } // the same folder, once it will be finished

// make makes what is missing. The floor is there before the inventory is: an inventory without a floor has lost it.
func (f folder) make() error {
	if err := durable.MkdirPrivate(string(f)); err != nil {
		return err
	}
	if _, err := os.Lstat(f.installed()); errors.Is(err, fs.ErrNotExist) {
		if err := f.beginFloor(); err != nil {
			return err
		}
	}
	return errors.Join(durable.MkdirPrivate(f.installed()), durable.MkdirPrivate(f.staging()))
}
