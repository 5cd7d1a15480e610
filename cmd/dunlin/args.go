package main

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// flagsFirst puts the flags of a command line before its other arguments, because people type "hash FILE -o X" and
// package flag stops at FILE. Flags of the whole program that stand behind a command go before it. The order of flags
// among themselves and of arguments among themselves stays; what follows "--" is no flag. Wrong flags stay in, for the
// parser to complain about.
func flagsFirst(app *cli.App, args []string) []string {
	if len(args) == 0 {
		return args
	}
	global, rest := splitLeading(args[1:], app.Flags)
	path, command, rest := descend(app.Commands, rest)
	if command == nil {
		return args
	}
	var own, plain []string
	for len(rest) > 0 {
		n := 1
		switch tok := rest[0]; {
		case tok == "--":
			plain, n = append(plain, rest...), len(rest)
		case !isFlag(tok):
			plain = append(plain, tok)
		case known(tok, command.Flags) || !known(tok, app.Flags):
			n = extent(rest, command.Flags)
			own = append(own, rest[:n]...)
		default:
			n = extent(rest, app.Flags)
			global = append(global, rest[:n]...)
		}
		rest = rest[n:]
	}
	out := append([]string{args[0]}, global...)
	return append(append(append(out, path...), own...), plain...)
}

// splitLeading splits off the flags that args begins with.
func splitLeading(args []string, flags []cli.Flag) (leading, rest []string) {
	n := 0
	for n < len(args) && isFlag(args[n]) && args[n] != "--" {
		n += extent(args[n:], flags)
	}
	return append([]string(nil), args[:n]...), args[n:]
}

// descend follows the names of commands down to one without subcommands. It gives up, with nil, where none is named:
// then the parser shows help.
func descend(commands []*cli.Command, args []string) (path []string, c *cli.Command, rest []string) {
	for len(args) > 0 {
		next := find(commands, args[0])
		if next == nil {
			return nil, nil, args
		}
		path, args, c = append(path, args[0]), args[1:], next
		if len(c.Subcommands) == 0 {
			return path, c, args
		}
		leading, rest := splitLeading(args, c.Flags)
		path, args, commands = append(path, leading...), rest, c.Subcommands
	}
	return nil, nil, args
}

func find(commands []*cli.Command, name string) *cli.Command {
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

func isFlag(tok string) bool { return len(tok) > 1 && tok[0] == '-' }

// extent is how many arguments the flag takes that args begins with: 2 when its value follows as an argument.
func extent(args []string, flags []cli.Flag) int {
	if strings.Contains(args[0], "=") || len(args) < 2 {
		return 1
	}
	f := lookup(args[0], flags)
	if v, ok := f.(cli.DocGenerationFlag); ok && v.TakesValue() {
		return 2
	}
	return 1
}

func known(tok string, flags []cli.Flag) bool { return lookup(tok, flags) != nil }

// lookup finds the flag of a token. Of short flags in one token, as in -qo FILE, only the last can take a value.
func lookup(tok string, flags []cli.Flag) cli.Flag {
	name, _, _ := strings.Cut(strings.TrimLeft(tok, "-"), "=")
	if f := byName(name, flags); f != nil || strings.HasPrefix(tok, "--") {
		return f
	}
	if len(name) < 2 {
		return nil
	}
	return byName(name[len(name)-1:], flags)
}

func byName(name string, flags []cli.Flag) cli.Flag {
	for _, f := range flags {
		for _, n := range f.Names() {
			if n == name {
				return f
			}
		}
	}
	return nil
}
