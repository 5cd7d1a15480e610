package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
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
		f, err := os.Open(name)
		if err != nil {
			return nil, fault.New(fault.Usage, "read passphrase: %w", err)
		}
		defer f.Close()
		b, err := io.ReadAll(io.LimitReader(f, maxPassphraseFile+1))
		if err != nil {
			return nil, fault.New(fault.Usage, "read passphrase: %w", err)
		}
		b = bytes.TrimSuffix(b, []byte("\n"))
		if len(b) == 0 || len(b) > maxPassphraseFile {
			return nil, fault.New(fault.Usage, "read passphrase: %s is empty or larger than %d bytes", name, maxPassphraseFile)
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
