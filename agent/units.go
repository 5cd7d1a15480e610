package agent

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// Bytes is a number of bytes, or of bytes per second. Its text form is an integer with or without a unit: B, KB, MB, GB,
// TB (powers of 1000) or KiB, MiB, GiB, TiB (powers of 1024).
type Bytes int64

// byteUnits are listed longest first, so that "MiB" is not taken for "B".
func byteUnits() []struct {
	name string
	size int64
} {
	return []struct {
		name string
		size int64
	}{
		{"TiB", 1 << 40},
		{"GiB", 1 << 30},
		{"MiB", 1 << 20},
		{"KiB", 1 << 10},
		{"TB", 1e12},
		{"GB", 1e9},
		{"MB", 1e6},
		{"KB", 1e3},
		{"B", 1},
	}
}

// ParseBytes reads the text form. Negative numbers and fractions are refused.
func ParseBytes(s string) (Bytes, error) {
	digits, size := s, int64(1)
	for _, u := range byteUnits() {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			digits, size = strings.TrimSuffix(rest, " "), u.size
			break
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || n > uint64(math.MaxInt64/size) {
		return 0, fmt.Errorf("%.40q is no size: want an integer with or without a unit, such as 500KB or 10MiB", s)
	}
	return Bytes(int64(n) * size), nil
}

// String returns the shortest exact text form.
func (b Bytes) String() string {
	for _, u := range byteUnits() {
		if b != 0 && int64(b)%u.size == 0 && u.size > 1 {
			return strconv.FormatInt(int64(b)/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// MarshalYAML implements yaml.InterfaceMarshaler.
func (b Bytes) MarshalYAML() (any, error) { return b.String(), nil }

// UnmarshalYAML implements yaml.NodeUnmarshaler, so that an error names its line.
func (b *Bytes) UnmarshalYAML(n ast.Node) error {
	v, err := ParseBytes(scalar(n))
	if err != nil {
		return &yaml.SyntaxError{Message: err.Error(), Token: n.GetToken()}
	}
	*b = v
	return nil
}

// Duration is a time.Duration whose text form has a unit: 90s, 5m, 1h30m.
type Duration time.Duration

// ParseDuration reads the text form. Negative durations, and numbers without a unit, are refused.
func ParseDuration(s string) (Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%.40q is no duration: want a number with a unit, such as 90s, 5m or 1h30m", s)
	}
	return Duration(d), nil
}

// String returns the text form, without the zero parts that time.Duration prints.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalYAML implements yaml.InterfaceMarshaler.
func (d Duration) MarshalYAML() (any, error) { return d.String(), nil }

// UnmarshalYAML implements yaml.NodeUnmarshaler, so that an error names its line.
func (d *Duration) UnmarshalYAML(n ast.Node) error {
	v, err := ParseDuration(scalar(n))
	if err != nil {
		return &yaml.SyntaxError{Message: err.Error(), Token: n.GetToken()}
	}
	*d = v
	return nil
}

// scalar returns the text of a plain or quoted value, and of anything else something that does not parse.
func scalar(n ast.Node) string {
	if s, ok := n.(ast.ScalarNode); ok {
		return fmt.Sprint(s.GetValue())
	}
	return n.String()
}

// Label is a text exactly as it stands in the file: 1.50 stays 1.50.
type Label string

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (l *Label) UnmarshalYAML(n ast.Node) error {
	switch n := n.(type) {
	case *ast.StringNode:
		*l = Label(n.Value)
	case ast.ScalarNode:
		*l = Label(n.GetToken().Value)
	default:
		return &yaml.SyntaxError{Message: "a label's value is one text", Token: n.GetToken()}
	}
	return nil
}
