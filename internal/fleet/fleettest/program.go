package fleettest

import "time"

// tickEvery is how often the ticks behaviour prints.
const tickEvery = 10 * time.Millisecond

// behaviours are what Program can do, by the first argument that names one.
var behaviours = map[string]string{
	"wait":     "runs until it is told to end",
	"ticks":    "prints \"tick 1\", \"tick 2\", … from a counter in memory",
	"exit":     "exit CODE: prints \"exiting with CODE\" to stderr and exits",
	"print":    "print N: prints \"line 0\" … \"line N-1\", then waits",
	"env":      "env NAME: prints NAME=value, then waits",
	"graceful": "prints \"bye\" on SIGTERM and exits 0",
	"stubborn": "ignores SIGTERM and says so",
	"family":   "starts children, one of them a daemon in a session of its own, then waits",
	"file":     "file PATH TEXT: writes the file and prints \"ok\", then waits",
}
