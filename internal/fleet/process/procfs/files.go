package procfs

import (
	"os"
	"strconv"
	"strings"
)

// Files gives how many files and connections a process has open, and how many it
// may; 0, 0 if that cannot be seen.
func Files(pid int) (open, limit int) {
	dir := "/proc/" + strconv.Itoa(pid)
	f, err := os.Open(dir + "/fd")
	if err != nil {
		return 0, 0
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return 0, 0
	}
	b, err := os.ReadFile(dir + "/limits")
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
			if words := strings.Fields(rest); len(words) > 0 {
				limit, _ = strconv.Atoi(words[0]) // "unlimited" is 0: no limit to run into
			}
		}
	}
	return len(names), limit
}
