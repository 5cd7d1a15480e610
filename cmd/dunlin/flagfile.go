package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/internal/fault"
)

const maxFlagFile = 256 << 10 // bytes

// A settings file says what the flags of a command say, and the flags go before it. Its keys are the names of the flags with
// _ for -; a flag that may be repeated is a list, and its key has an s at the end. So a new flag is a new key, and there is
// one table of both.

// keyOf is the key of a flag.
func keyOf(f cli.Flag) string {
	key := strings.ReplaceAll(f.Names()[0], "-", "_")
	if isList(f) {
		key += "s"
	}
	return key
}

func isList(f cli.Flag) bool {
	_, ok := f.(*cli.StringSliceFlag)
	return ok
}

// flagFile are the settings of a file for a command with certain flags.
type flagFile struct {
	path  string
	flags []cli.Flag // of whom the file may speak
}

// apply gives the flags of c the values of the file, but for those that the command line has set and those that c does not
// have. A file that is not there is as good as an empty one, unless must says otherwise.
func (f flagFile) apply(c *cli.Context, must bool, skip ...string) error {
	values, err := f.read()
	if errors.Is(err, fs.ErrNotExist) && !must {
		return nil
	}
	if err != nil {
		return fault.New(fault.Usage, "read settings %s: %w", f.path, err)
	}
	for _, v := range values {
		name := v.flag.Names()[0]
		if c.IsSet(name) || slices.Contains(skip, name) || byName(name, c.Command.Flags) == nil {
			continue
		}
		for _, text := range v.texts {
			if err := c.Set(name, text); err != nil {
				return fault.New(fault.Usage, "read settings %s: %s: %w", f.path, v.at, err)
			}
		}
	}
	return nil
}

// flagValue is what a file says for one flag.
type flagValue struct {
	flag  cli.Flag
	texts []string
	at    string // line and column
}

func (f flagFile) read() ([]flagValue, error) {
	in, err := os.Open(f.path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	b, err := io.ReadAll(io.LimitReader(in, maxFlagFile+1))
	if err == nil && len(b) > maxFlagFile {
		err = fmt.Errorf("more than %d bytes", maxFlagFile)
	}
	if err != nil {
		return nil, err
	}
	return f.parse(b)
}

// parse is strict: an unknown or repeated key, a value of the wrong form and a second document are errors, which begin with
// line and column.
func (f flagFile) parse(b []byte) ([]flagValue, error) {
	file, err := parser.ParseBytes(b, 0)
	if err != nil {
		return nil, position(err)
	}
	var out []flagValue
	for i, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		if i > 0 {
			return nil, fmt.Errorf("%s: there is more than one document in it", place(doc.Body))
		}
		pairs, err := pairsOf(doc.Body)
		if err != nil {
			return nil, err
		}
		for _, p := range pairs {
			v, err := f.value(p)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
	}
	return out, nil
}

func pairsOf(n ast.Node) ([]*ast.MappingValueNode, error) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, nil
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, nil
	}
	return nil, fmt.Errorf("%s: it is no list of keys with values", place(n))
}

func (f flagFile) value(p *ast.MappingValueNode) (v flagValue, err error) {
	key, at := p.Key.GetToken().Value, place(p.Key)
	i := slices.IndexFunc(f.flags, func(f cli.Flag) bool { return keyOf(f) == key })
	if i < 0 {
		return v, fmt.Errorf("%s: unknown key %.40q", at, key)
	}
	v = flagValue{flag: f.flags[i], at: place(p.Value)}
	list, ok := p.Value.(*ast.SequenceNode)
	if ok != isList(v.flag) {
		return v, fmt.Errorf("%s: %s is a list, or is not one where one is due", v.at, key)
	}
	values := []ast.Node{p.Value}
	if ok {
		values = list.Values
	}
	for _, n := range values {
		text, err := textOf(n)
		if err != nil {
			return v, err
		}
		v.texts = append(v.texts, text)
	}
	return v, nil
}

// textOf is a value as it stands in the file: 1.50 stays 1.50.
func textOf(n ast.Node) (string, error) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, nil
	case *ast.NullNode:
		return "", fmt.Errorf("%s: there is no value", place(n))
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
	case ast.ScalarNode:
		return n.GetToken().Value, nil
	}
	return "", fmt.Errorf("%s: it is not one value", place(n))
}

func place(n ast.Node) string {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return fmt.Sprintf("%d:%d", t.Position.Line, t.Position.Column)
	}
	return "1:1"
}

// position turns the parser's error, which prints a picture of the file, into one line.
func position(err error) error {
	var e yaml.Error
	if !errors.As(err, &e) || e.GetToken() == nil || e.GetToken().Position == nil {
		return fmt.Errorf("1:1: %w", err)
	}
	p := e.GetToken().Position
	return fmt.Errorf("%d:%d: %s", p.Line, p.Column, e.GetMessage())
}
