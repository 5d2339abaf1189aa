package fleettest

import (
	"flag"
	"strconv"
	"sync"

	"github.com/waooaw/platform-portal/internal/fleet"
)

// Abreast lets so many tests of the suite run side by side, whatever the number of
// processors: most of their time is waiting. It is for TestMain; what the command line
// says wins.
func Abreast(tests int) {
	if err := flag.Set("test.parallel", strconv.Itoa(tests)); err != nil {
		panic(err) // there is no such flag outside of tests
	}
}

// Configs keeps with what configuration C the runtimes of a harness were made.
type Configs[C any] struct{ byRuntime sync.Map }

// Put keeps that of a runtime.
func (c *Configs[C]) Put(rt fleet.Runtime, cfg C) { c.byRuntime.Store(rt, cfg) }

// Of gives that of a runtime, which was put in.
func (c *Configs[C]) Of(rt fleet.Runtime) C {
	cfg, _ := c.byRuntime.Load(rt)
	return cfg.(C)
}
