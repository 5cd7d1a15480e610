package main

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestDepotScripts runs those scripts that serve a depot. Each gets loopback addresses of its own, HOST and HOST2, so that
// the usual ports can be used by several of them, and by several runs on one machine.
func TestDepotScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/depot", RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			for _, name := range []string{"HOST", "HOST2"} {
				e.Setenv(name, fmt.Sprintf("127.%d.%d.%d", 64+rand.IntN(64), rand.IntN(256), 1+rand.IntN(254)))
			}
			return nil
		},
	})
}
