// Package hush keeps libraries from writing to standard error while the program
// is being initialised, which commands and their scripts would see. It imports
// next to nothing, so that it is initialised before they are.
package hush

import (
	"io"
	"log"
	"os"
)

func init() { log.SetOutput(io.Discard) }

// End lets the standard logger write again.
func End() { log.SetOutput(os.Stderr) }
