package procfs

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Listener is a process that listens on a TCP port.
type Listener struct {
	PID     int
	Command string // as it is called, e.g. python3
}

// ListenerOf gives the process that listens on the port, as far as the operating
// system lets this process see. listens is true also where it does not say who.
func ListenerOf(port int) (l Listener, listens bool) {
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		listening(table, port, inodes)
	}
	if len(inodes) == 0 {
		return Listener{}, false
	}
	for _, pid := range pids("/proc") {
		dir := filepath.Join("/proc", strconv.Itoa(pid))
		fds, err := os.ReadDir(dir + "/fd")
		if err != nil {
			continue
		}
		for _, fd := range fds {
			target, err := os.Readlink(dir + "/fd/" + fd.Name())
			if err != nil {
				continue
			}
			if inode, ok := strings.CutPrefix(target, "socket:["); ok && inodes[strings.TrimSuffix(inode, "]")] {
				name, _ := os.ReadFile(dir + "/comm")
				return Listener{PID: pid, Command: strings.TrimSpace(string(name))}, true
			}
		}
	}
	return Listener{}, true
}

// listening adds the inodes of the sockets that listen on the port, from a table
// whose columns are local address (2nd), state (4th, 0A is LISTEN) and inode (10th).
func listening(table string, port int, inodes map[string]bool) {
	f, err := os.Open(table)
	if err != nil {
		return
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		col := strings.Fields(lines.Text())
		if len(col) < 10 || col[3] != "0A" {
			continue
		}
		_, hex, ok := strings.Cut(col[1], ":")
		n, err := strconv.ParseUint(hex, 16, 16)
		if ok && err == nil && int(n) == port {
			inodes[col[9]] = true
		}
	}
}

// Variable gives a variable of a process's environment; "" if it has none, or if
// that cannot be seen.
func Variable(pid int, name string) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return ""
	}
	for entry := range strings.SplitSeq(string(b), "\x00") {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			return v
		}
	}
	return ""
}
