// Package examples holds specifications of agents to begin with.
package examples

import (
	"embed"
	"io/fs"
)

//go:embed fleet/*.yaml
var files embed.FS

// Fleet gives the documents of the example fleet, one agent each, in order of
// their names.
func Fleet() ([][]byte, error) {
	names, err := fs.Glob(files, "fleet/*.yaml")
	if err != nil {
		return nil, err
	}
	out := make([][]byte, len(names))
	for i, name := range names {
		if out[i], err = files.ReadFile(name); err != nil {
			return nil, err
		}
	}
	return out, nil
}
