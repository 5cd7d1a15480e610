package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// maxPassphraseFile bounds a passphrase file, in bytes.
const maxPassphraseFile = 4 << 10

// newLogger writes text to a terminal and JSON elsewhere when --log-json says so; -v shows debug records.
func newLogger(c *cli.Context) *slog.Logger {
	opts := &slog.HandlerOptions{Level: slog.LevelInfo}
	if c.Bool("verbose") {
		opts.Level = slog.LevelDebug
	}
	w := c.App.ErrWriter
	if c.Bool("log-json") {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// printJSON writes v as one line.
func printJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("encode output: %w", err)
	}
	_, err := w.Write(b.Bytes())
	return err
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// readPassphrase takes the passphrase from the file that DUNLIN_PASSPHRASE_FILE names (one trailing newline is cut), or
// asks for it on the terminal.
func readPassphrase(prompt string) ([]byte, error) {
	if name := os.Getenv("DUNLIN_PASSPHRASE_FILE"); name != "" {
		b, err := readPassphraseFile(name)
		if err != nil {
			return nil, fault.Wrap(fault.Usage, fmt.Errorf("read passphrase: %w", err))
		}
		return b, nil
	}
	if !isTerminal(os.Stdin) {
		return nil, fault.WithHint(
			fault.New(fault.Usage, "read passphrase: there is no terminal to ask on"),
			"put it into a file with mode 0600 and name that in DUNLIN_PASSPHRASE_FILE")
	}
	fmt.Fprint(os.Stderr, prompt)
	b, err := term.ReadPassword(int(os.Stdin.Fd()))
	fmt.Fprintln(os.Stderr)
	if err != nil {
		return nil, fault.New(fault.Usage, "read passphrase: %w", err)
	}
	if len(b) == 0 {
		return nil, fault.New(fault.Usage, "read passphrase: it is empty")
	}
	return b, nil
}

// readPassphraseFile refuses a file that others than its owner can read: what it holds unlocks the keys of a publisher or
// of an organisation.
func readPassphraseFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	const others fs.FileMode = 0o044 // may read
	if perm := info.Mode().Perm(); perm&others != 0 {
		return nil, fault.WithHint(fault.New(fault.Usage, "%s can be read by others than its owner (mode %#o)", name, perm),
			"chmod 600 %s; and choose another passphrase if somebody may have read it", name)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxPassphraseFile+1))
	if err != nil {
		return nil, err
	}
	b = bytes.TrimSuffix(b, []byte("\n"))
	if len(b) == 0 || len(b) > maxPassphraseFile {
		return nil, fmt.Errorf("%s is empty or larger than %d bytes", name, maxPassphraseFile)
	}
	return b, nil
}

// report prints an error with its hint and returns the exit code of its kind.
func report(w io.Writer, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintf(w, "dunlin: %s: %v\n", fault.Of(err), err)
	if hint := fault.Hint(err); hint != "" {
		fmt.Fprintf(w, "  try: %s\n", hint)
	}
	return int(fault.Of(err))
}
