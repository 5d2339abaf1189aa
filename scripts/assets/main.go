// Command assets builds what pages load (internal/web/assets/dist) from its
// sources: one script, one style sheet, and the fonts and pictures beside them,
// each named after its digest and compressed.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/waooaw/platform-portal/scripts/assets/bundle"
)

func main() {
	dir := flag.String("dir", "internal/web/assets", "folder with src and dist")
	flag.Parse()
	files, err := bundle.Build(*dir)
	if err == nil {
		err = bundle.Write(*dir, files)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "assets:", err)
		os.Exit(1)
	}
}
