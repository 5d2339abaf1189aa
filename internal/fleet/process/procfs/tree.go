package procfs

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

// All gives the stat of every process.
func All() []Stat {
	var all []Stat
	for _, pid := range pids("/proc") {
		if s, err := Read(pid); err == nil {
			all = append(all, s)
		}
	}
	return all
}

// Descendants gives all processes below root that have not ended. While the
// tree forks the list may miss some; ask again until nothing new appears.
func Descendants(root int) []Stat {
	if _, err := os.Stat("/proc/self/task/" + strconv.Itoa(os.Getpid()) + "/children"); err == nil {
		return below(root)
	}
	return scan(root)
}

// below follows the kernel's lists of children.
func below(root int) []Stat {
	var found []Stat
	seen := map[int]bool{root: true}
	for queue := []int{root}; len(queue) > 0; queue = queue[1:] {
		for _, pid := range children(queue[0]) {
			if seen[pid] {
				continue
			}
			seen[pid] = true
			if s, err := Read(pid); err == nil && !s.Dead() {
				found = append(found, s)
				queue = append(queue, pid)
			}
		}
	}
	return found
}

func children(pid int) []int {
	dir := "/proc/" + strconv.Itoa(pid) + "/task"
	var list []int
	for _, tid := range pids(dir) {
		b, _ := os.ReadFile(dir + "/" + strconv.Itoa(tid) + "/children")
		for f := range strings.FieldsSeq(string(b)) {
			if n, err := strconv.Atoi(f); err == nil {
				list = append(list, n)
			}
		}
	}
	return list
}

// scan builds the tree from all processes, for kernels without lists of children.
func scan(root int) []Stat {
	byParent := map[int][]Stat{}
	for _, s := range All() {
		byParent[s.PPID] = append(byParent[s.PPID], s)
	}
	var found []Stat
	for queue := []int{root}; len(queue) > 0; queue = queue[1:] {
		for _, s := range byParent[queue[0]] {
			if !s.Dead() {
				found = append(found, s)
				queue = append(queue, s.PID)
			}
		}
	}
	return found
}

// WithEnviron gives the processes whose environment, as it was when their
// program started, holds every one of the entries ("NAME=value").
func WithEnviron(entries ...string) []ID {
	var found []ID
	for _, pid := range pids("/proc") {
		if pid != os.Getpid() && HasEnviron(pid, entries...) {
			if s, err := Read(pid); err == nil && !s.Dead() {
				found = append(found, s.ID)
			}
		}
	}
	return found
}

// HasEnviron tells whether the environment of the process holds all entries.
func HasEnviron(pid int, entries ...string) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil || len(b) == 0 {
		return false
	}
	b = append(append([]byte{0}, b...), 0)
	for _, e := range entries {
		if !bytes.Contains(b, []byte("\x00"+e+"\x00")) {
			return false
		}
	}
	return true
}

// pids gives the entries of a directory that are numbers.
func pids(dir string) []int {
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	list := make([]int, 0, len(names))
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil {
			list = append(list, n)
		}
	}
	return list
}
