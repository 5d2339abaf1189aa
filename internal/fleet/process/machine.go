package process

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/waooaw/platform-portal/internal/fleet/process/procfs"
	"github.com/waooaw/platform-portal/internal/fleet/process/shim"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// HolderOf gives the process that listens on a port of this machine, and the
// agent that it belongs to, if it is one's. pid is 0 if somebody listens and the
// operating system does not say who.
func (r *Runtime) HolderOf(port int) (pid int, command, agentID string, ok bool) {
	l, ok := procfs.ListenerOf(port)
	if !ok || l.PID == 0 {
		return 0, "", "", ok
	}
	if dir := procfs.Variable(l.PID, "AGENT_DATA_DIR"); strings.HasPrefix(dir, r.cfg.Dir+"/") {
		agentID = procfs.Variable(l.PID, "AGENT_ID")
	}
	return l.PID, l.Command, agentID, true
}

// FreePort gives the first port after near that nobody on this machine uses; 0 if
// there is none among the next hundred.
func (r *Runtime) FreePort(near int) int {
	for p := max(near+1, 1024); p < min(near+101, 65536); p++ {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p)))
		if err == nil && l.Close() == nil && portFree(p) == nil {
			return p
		}
	}
	return 0
}

// FindCommand looks a command up as it would be for an agent whose environment
// has the path ("" is the portal's own), and gives those commands of almost the
// same name that are there.
func (r *Runtime) FindCommand(agentID, command, path string) (there bool, near []string) {
	if path == "" {
		path = r.environPath()
	}
	if _, err := shim.Find(command, r.WorkDir(agentID), path); err == nil {
		return true, nil
	}
	dirs, name, full := filepath.SplitList(path), filepath.Base(command), strings.Contains(command, "/")
	if full {
		dir := filepath.Dir(command)
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(r.WorkDir(agentID), dir)
		}
		dirs = append([]string{dir}, dirs...)
	}
	best := 3
	for i, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			d := distance(name, e.Name())
			file := filepath.Join(dir, e.Name())
			if d > allowed(name) || d > best || !executable(file) {
				continue
			}
			found := e.Name()
			if full {
				found = file
			}
			if d < best || full && i == 0 && d == best {
				best, near = d, append([]string{found}, near...)
			} else if !slices.Contains(near, found) {
				near = append(near, found)
			}
		}
	}
	return false, near[:min(3, len(near))]
}

// allowed is how many letters may differ for two names to be almost the same.
func allowed(name string) int {
	if len(name) < 5 {
		return 1
	}
	return 2
}

func executable(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && unix.Access(file, unix.X_OK) == nil
}

func (r *Runtime) environPath() string {
	if p := os.Getenv("PATH"); p != "" {
		return p
	}
	return shim.DefaultPath
}

// distance is how many letters must be inserted, deleted, replaced or swapped with
// the next to make one word of the other.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// DiskFree gives what the file system of the agents' directories has left, in
// bytes; -1 if it does not say.
func (r *Runtime) DiskFree() int64 {
	var s unix.Statfs_t
	if err := unix.Statfs(r.cfg.Dir, &s); err != nil {
		return -1
	}
	return int64(s.Bavail) * s.Bsize
}

// passing are the names of files that nobody misses: rotated logs, temporary
// files, dumps of crashes.
var passing = regexp.MustCompile(`(?i)(\.log\.[0-9].*|\.log-[0-9].*|\.log\.(gz|old|bak|zst)|\.(tmp|temp|swp|bak|old|part)|^core(\.[0-9]+)?|^.*\.(hprof|heapsnapshot)|~)$`)

// passingDirs are directories whose whole content is temporary.
var passingDirs = []string{"tmp", "temp", ".tmp", "cache", ".cache", "__pycache__"}

// Disposable lists what FreeDisk would delete of an agent's own directories, and
// how much that is.
func (r *Runtime) Disposable(agentID string) (files []string, size int64, err error) {
	if err := upkeep.CheckIDs(agentID); err != nil {
		return nil, 0, err
	}
	root := r.agentDir(agentID)
	for _, part := range []string{"work", "data", "volumes"} {
		base := filepath.Join(root, part)
		_ = filepath.WalkDir(base, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || len(files) > 100_000 {
				return nil //nolint:nilerr // it vanished meanwhile
			}
			rel, err := filepath.Rel(base, filepath.Dir(path))
			inside := err == nil && slices.ContainsFunc(strings.Split(rel, "/"), func(s string) bool { return slices.Contains(passingDirs, s) })
			if info, err := d.Info(); err == nil && (inside || passing.MatchString(d.Name())) {
				files, size = append(files, path), size+info.Size()
			}
			return nil
		})
	}
	logs, err := os.ReadDir(r.logsDir(agentID))
	if err != nil {
		return files, size, nil //nolint:nilerr // it has none
	}
	for _, e := range logs {
		if exists(r.instanceDir(agentID, e.Name())) {
			continue // it runs, or its end is still to be looked at
		}
		dir := filepath.Join(r.logsDir(agentID), e.Name())
		files, size = append(files, dir), size+shim.DiskUse(dir)
	}
	return files, size, nil
}

// FreeDisk deletes rotated logs, temporary files and the output of instances that
// are gone from the agent's own directories, and gives how much that was.
func (r *Runtime) FreeDisk(agentID string) (freed int64, err error) {
	files, size, err := r.Disposable(agentID)
	if err != nil {
		return 0, err
	}
	root, err := os.OpenRoot(r.agentDir(agentID))
	if err != nil {
		return 0, err
	}
	defer root.Close()
	for _, file := range files {
		rel, err := filepath.Rel(r.agentDir(agentID), file)
		if err != nil || !filepath.IsLocal(rel) {
			continue
		}
		_ = root.RemoveAll(rel)
	}
	return size, nil
}
