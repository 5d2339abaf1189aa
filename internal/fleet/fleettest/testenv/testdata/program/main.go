// Command program is what the images of the tests run.
package main

import (
	"os"

	"github.com/waooaw/platform-portal/internal/fleet/fleettest"
)

func main() { os.Exit(fleettest.Program(os.Args[1:])) }
