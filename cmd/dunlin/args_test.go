package main

import (
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

func TestFlagsFirst(t *testing.T) {
	t.Parallel()
	app := &cli.App{
		Flags: []cli.Flag{&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}}, &cli.StringFlag{Name: "log"}},
		Commands: []*cli.Command{
			{Name: "hash", Flags: []cli.Flag{
				&cli.StringFlag{Name: "output", Aliases: []string{"o"}},
				&cli.BoolFlag{Name: "json", Aliases: []string{"j"}},
				&cli.StringSliceFlag{Name: "url"},
				&cli.DurationFlag{Name: "for"},
			}},
			{Name: "depot", Flags: []cli.Flag{&cli.StringFlag{Name: "dir"}}, Subcommands: []*cli.Command{
				{Name: "approve", Flags: []cli.Flag{&cli.StringFlag{Name: "ring"}}},
			}},
		},
	}
	for in, want := range map[string]string{
		"":                                 "",
		"hash":                             "hash",
		"hash F":                           "hash F",
		"hash F -o X":                      "hash -o X F",
		"hash F -o=X G":                    "hash -o=X F G",
		"hash F --url u --json --url w G":  "hash --url u --json --url w F G",
		"hash -o X F":                      "hash -o X F",
		"hash F -jo X":                     "hash -jo X F",
		"hash F -v":                        "-v hash F",
		"hash F --log x -o y":              "--log x hash -o y F",
		"-v hash F --json":                 "-v hash --json F",
		"--log hash hash F --json":         "--log hash hash --json F",
		"hash -- -o F --json":              "hash -- -o F --json",
		"hash F -o X -- -G":                "hash -o X F -- -G",
		"hash - -o X":                      "hash -o X -",
		"hash F -o":                        "hash -o F",
		"hash F --nonsense -o X":           "hash --nonsense -o X F",
		"hash F --help":                    "hash --help F",
		"hash F --for 3s -o -":             "hash --for 3s -o - F",
		"depot approve P --ring R":         "depot approve --ring R P",
		"depot --dir D approve P --ring R": "depot --dir D approve --ring R P",
		"depot approve P --ring R -v":      "-v depot approve --ring R P",
		"depot":                            "depot",
		"depot nonsense --ring R":          "depot nonsense --ring R",
		"nonsense F -o X":                  "nonsense F -o X",
		"--nonsense hash F --json":         "--nonsense hash --json F",
		"--log":                            "--log",
	} {
		args := append([]string{"dunlin"}, strings.Fields(in)...)
		got := strings.Join(flagsFirst(app, args)[1:], " ")
		if got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	if got := flagsFirst(app, nil); got != nil {
		t.Errorf("nothing became %q", got)
	}
}
