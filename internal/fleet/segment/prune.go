package segment

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// kept is how many ended instances of an agent keep their output.
const kept = 20

// Prune removes the oldest output, of which dir has a directory per instance. What
// needed says is still written or about to be is left alone.
func Prune(dir string, needed func(instance string) bool) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return needed(e.Name()) })
	age := func(e fs.DirEntry) time.Time {
		if info, err := e.Info(); err == nil {
			return info.ModTime()
		}
		return time.Time{}
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return age(a).Compare(age(b)) })
	for _, e := range entries[:max(0, len(entries)-kept)] {
		_ = os.RemoveAll(filepath.Join(dir, e.Name()))
	}
}
