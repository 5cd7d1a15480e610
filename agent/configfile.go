package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/goccy/go-yaml"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata/member"
)

const (
	maxConfigFile = 256 << 10 // bytes
	configMode    = 0o644     // it holds no secret, and "dunlin status" reads it as any user
)

// ReadConfig reads a configuration file strictly: an unknown or repeated key, a value of the wrong type and a second
// document are refused with line and column (fault.Usage). It does not Validate, so that flags may complete it.
func ReadConfig(path string) (Config, error) {
	b, err := readBounded(path, maxConfigFile)
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, fault.WithHint(fault.New(fault.Usage, "read configuration: %w", err),
			"join an organisation first: dunlin join TOKEN; or name another file with --config")
	}
	if err != nil {
		return Config{}, fault.New(fault.Usage, "read configuration: %w", err)
	}
	c, err := parseConfig(b)
	if err != nil {
		return Config{}, fault.WithHint(fault.New(fault.Usage, "read configuration %s:%w", path, err),
			"mend that line; deploy/agent.yaml in the source tree has every key, with its meaning and its default")
	}
	return c, nil
}

// parseConfig is ReadConfig for bytes. Its errors begin with line and column.
func parseConfig(b []byte) (Config, error) {
	var c Config
	dec := yaml.NewDecoder(bytes.NewReader(b), yaml.Strict())
	if err := dec.Decode(&c); errors.Is(err, io.EOF) {
		return Config{}, nil
	} else if err != nil {
		return Config{}, position(err)
	}
	var more any
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return Config{}, errors.New("1:1: there is more than one document in it")
	}
	return c, nil
}

// position turns the decoder's error, which prints a picture of the file, into one line.
func position(err error) error {
	var e yaml.Error
	if !errors.As(err, &e) || e.GetToken() == nil || e.GetToken().Position == nil {
		return fmt.Errorf("1:1: %w", err)
	}
	p := e.GetToken().Position
	return fmt.Errorf("%d:%d: %s", p.Line, p.Column, e.GetMessage())
}

func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s has more than %d bytes", path, most)
	}
	return b, err
}

// Enrolment is what joining an organisation gives a device.
type Enrolment struct {
	Depots        []string // as in Config
	ContentURLs   []string // as in Config
	CAPEM         []byte   // the depot's certificate authority, one PEM certificate; empty when every depot is a folder
	ApprovalsRoot []byte   // a root file of the approvals: the trust anchor
	Ring          string
	Group         string // empty: what the organisation has signed
	StateDir      string // empty is DefaultStateDir
	// Replace lets another organisation's enrolment take the place of the one that is there. The other settings of an
	// existing file are kept in either case; its comments are not.
	Replace bool
}

// WriteConfig puts the anchors into the state folder and then writes the configuration file, durably and in this order: a
// device with a configuration always has its anchors. Enrolling again with the same anchor changes what the token says and
// keeps everything else; another anchor is refused (fault.Refused) unless Replace is set.
func WriteConfig(path string, e Enrolment) error {
	c, err := ReadConfig(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	c.Depots, c.Content, c.Ring, c.Pins = e.Depots, e.ContentURLs, e.Ring, nil
	if e.Group != "" {
		c.Group = e.Group
	}
	if e.StateDir != "" {
		c.StateDir = e.StateDir
	}
	if err := c.Validate(); err != nil {
		return err
	}
	if err := writeAnchors(stateDir(c.withDefaults().StateDir), e); err != nil {
		return fmt.Errorf("enrol device: %w", err)
	}
	text, err := c.encode()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	if err := durable.WriteFile(path, text, configMode); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

func writeAnchors(dir stateDir, e Enrolment) error {
	return member.Anchors{Root: e.ApprovalsRoot, Authority: e.CAPEM}.Write(string(dir), e.Replace)
}

const configHead = `# Settings of the Dunlin agent. Every key is optional but depots and ring, which "dunlin join" has written.
# An unknown key is an error; deploy/agent.yaml in the source tree has them all.
`

func (c Config) encode() ([]byte, error) {
	b, err := yaml.MarshalWithOptions(c, yaml.Indent(2), yaml.IndentSequence(true))
	if err != nil {
		return nil, fmt.Errorf("encode configuration: %w", err)
	}
	out := slices.Concat([]byte(configHead), b)
	if again, err := parseConfig(out); err != nil {
		return nil, fmt.Errorf("encode configuration: it would not be read again: %w", err)
	} else if err := again.Validate(); err != nil {
		return nil, err
	}
	return out, nil
}
