package keys

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
)

const (
	// DefaultWorkFactor is the log2 of scrypt's N for new offline keys: 256 MiB of memory and about a second for each try.
	DefaultWorkFactor = 18
	// MinWorkFactor is the least that Options accept. Only tests should come near it.
	MinWorkFactor = 10
	// maxWorkFactor bounds what reading spends: 4 GiB and some 15 s.
	maxWorkFactor = 22
	// MinPassphrase is the least length of a passphrase for new keys, in bytes.
	MinPassphrase = 8
	// maxKeyFile bounds a key file, in bytes.
	maxKeyFile = 64 << 10

	onlineSuffix  = ".key"
	offlineSuffix = ".key.age"
)

// Unlock gives the passphrase of the offline keys. It is called at most once for each key that is read, so a caller that
// asks a person wraps it in sync.OnceValues.
type Unlock func() ([]byte, error)

// Options of a Store. The zero value is the safe one.
type Options struct {
	// Offline is where the offline keys lie once they have been moved away, for example on a mounted stick.
	// Empty: the folder offline beside online.
	Offline string
	// WorkFactor is the log2 of scrypt's N for keys written from now on, MinWorkFactor to 22. Zero: DefaultWorkFactor.
	// Keys that exist keep theirs.
	WorkFactor int
}

// Store is a folder of key files. It holds no secret itself and is safe for concurrent use.
type Store struct {
	online, offline string
	workFactor      int
}

// Open names the folder; it reads and makes nothing. The error is of kind fault.Usage.
func Open(dir string, o Options) (*Store, error) {
	s := &Store{
		online:     filepath.Join(dir, "online"),
		offline:    filepath.Join(dir, "offline"),
		workFactor: DefaultWorkFactor,
	}
	if o.Offline != "" {
		s.offline = o.Offline
	}
	if o.WorkFactor != 0 {
		if o.WorkFactor < MinWorkFactor || o.WorkFactor > maxWorkFactor {
			return nil, fault.New(fault.Usage, "open keys: work factor %d is not from %d to %d", o.WorkFactor, MinWorkFactor, maxWorkFactor)
		}
		s.workFactor = o.WorkFactor
	}
	return s, nil
}

// OnlinePath returns where the online key of that name lies.
func (s *Store) OnlinePath(name string) string { return filepath.Join(s.online, name+onlineSuffix) }

// OfflinePath returns where the offline key of that name lies.
func (s *Store) OfflinePath(name string) string { return filepath.Join(s.offline, name+offlineSuffix) }

// CheckPassphrase refuses a passphrase that is too short for new keys.
func CheckPassphrase(passphrase []byte) error {
	if len(passphrase) >= MinPassphrase {
		return nil
	}
	return fault.WithHint(fault.New(fault.Usage, "check passphrase: it has %d bytes, fewer than %d", len(passphrase), MinPassphrase),
		"take a few words; whoever holds a copy of the key files can try passphrases at leisure")
}

// PutOnline writes a new unencrypted secret. It never replaces one: then the error wraps fs.ErrExist.
func (s *Store) PutOnline(name string, secret []byte) error {
	return writeNew(s.OnlinePath(name), secret)
}

// PutOffline writes a new secret, encrypted with the passphrase. It never replaces one: then the error wraps fs.ErrExist.
func (s *Store) PutOffline(name string, secret, passphrase []byte) error {
	if err := CheckPassphrase(passphrase); err != nil {
		return err
	}
	b, err := s.encrypt(secret, passphrase)
	if err != nil {
		return fmt.Errorf("encrypt key %s: %w", name, err)
	}
	return writeNew(s.OfflinePath(name), b)
}

func (s *Store) encrypt(secret, passphrase []byte) ([]byte, error) {
	recipient, err := age.NewScryptRecipient(string(passphrase))
	if err != nil {
		return nil, err
	}
	recipient.SetWorkFactor(s.workFactor)
	var out bytes.Buffer
	armoured := armor.NewWriter(&out)
	w, err := age.Encrypt(armoured, recipient)
	if err != nil {
		return nil, err
	}
	_, err = w.Write(secret)
	if err := errors.Join(err, w.Close(), armoured.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// Online reads an online secret. A missing one is fault.Usage, one that others could have read is fault.Refused.
func (s *Store) Online(name string) ([]byte, error) {
	const readableByOthers = 0o077
	return read(s.OnlinePath(name), readableByOthers)
}

// Offline reads an offline secret and decrypts it with the passphrase, which it asks for only when the file is there.
// A missing file or a wrong passphrase is fault.Usage, one that others could have replaced is fault.Refused.
func (s *Store) Offline(name string, unlock Unlock) ([]byte, error) {
	// Reading is no harm, it is encrypted, and on a stick with FAT every file is readable by all.
	const writableByOthers = 0o022
	path := s.OfflinePath(name)
	b, err := read(path, writableByOthers)
	if err != nil {
		return nil, err
	}
	passphrase, err := unlock()
	if err != nil {
		return nil, err
	}
	secret, err := decrypt(b, passphrase)
	var wrong *age.NoIdentityMatchError
	switch {
	case errors.As(err, &wrong) || errors.Is(err, age.ErrIncorrectIdentity):
		return nil, fault.WithHint(fault.New(fault.Usage, "unlock key %s: wrong passphrase", path),
			"use the passphrase that was given when the keys were made; it can not be recovered")
	case err != nil:
		return nil, fault.WithHint(fault.New(fault.Usage, "unlock key %s: the file is damaged: %w", path, err),
			"restore it from your copy")
	}
	return secret, nil
}

func decrypt(b, passphrase []byte) ([]byte, error) {
	identity, err := age.NewScryptIdentity(string(passphrase))
	if err != nil {
		return nil, err
	}
	identity.SetMaxWorkFactor(maxWorkFactor)
	r, err := age.Decrypt(armor.NewReader(bytes.NewReader(b)), identity)
	if err != nil {
		return nil, err
	}
	return readBounded(r)
}

// read returns the bytes of a key file that belongs to us and has none of the forbidden mode bits.
func read(path string, forbidden fs.FileMode) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.WithHint(fault.New(fault.Usage, "read key: %w", err),
			"if the key was moved away, mount where it lies and name the folder with --offline-keys")
	}
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	defer f.Close()
	if err := checkOwner(f, forbidden); err != nil {
		return nil, err
	}
	b, err := readBounded(f)
	if err != nil {
		return nil, fmt.Errorf("read key %s: %w", path, err)
	}
	return b, nil
}

func checkOwner(f *os.File, forbidden fs.FileMode) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read key: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fault.New(fault.Refused, "read key %s: it is no regular file", f.Name())
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fault.WithHint(fault.New(fault.Refused, "read key %s: it belongs to user %d, not to you", f.Name(), st.Uid),
			"run the command as the user who made the keys")
	}
	if info.Mode().Perm()&forbidden != 0 {
		return fault.WithHint(fault.New(fault.Refused, "read key %s: mode %04o lets others at it", f.Name(), info.Mode().Perm()),
			"chmod 600 %s, and think about who may have seen or changed it meanwhile", f.Name())
	}
	return nil
}

func readBounded(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxKeyFile+1))
	if err == nil && len(b) > maxKeyFile {
		err = fmt.Errorf("more than %d bytes", maxKeyFile)
	}
	return b, err
}

// writeNew makes the private folder and the file in it, 0600, synced. It fails when the file exists.
func writeNew(path string, b []byte) error {
	if err := durable.MkdirPrivate(filepath.Dir(path)); err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write key: %w", errors.Join(err, os.Remove(path)))
	}
	return durable.SyncDir(filepath.Dir(path))
}
