package upkeep

import (
	"os"
	"path/filepath"

	"github.com/waooaw/platform-portal/internal/fleet"
)

// Logs gives the directories of output, one for each instance, that the portal keeps
// of an agent.
func Logs(dir string) []fleet.Holding {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var list []fleet.Holding
	for _, e := range entries {
		own := filepath.Join(dir, e.Name())
		h := fleet.Holding{Kind: "logs", Name: e.Name(), Where: own, Instance: e.Name()}
		files, err := os.ReadDir(own)
		if err != nil {
			continue
		}
		for _, f := range files {
			if info, err := f.Info(); err == nil {
				h.Bytes += info.Size()
			}
		}
		list = append(list, h)
	}
	return list
}
