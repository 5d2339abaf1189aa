package shim

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// PokePrefix begins the name of every socket on which a portal listens for
// changes, in its run directory.
const PokePrefix = "process-"

// Poke tells every portal that listens in runDir that something about the
// agent changed. It never waits; a portal that is not there learns it later.
func Poke(runDir, agentID string) {
	d, err := os.Open(runDir)
	if err != nil {
		return
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	for _, name := range names {
		if strings.HasPrefix(name, PokePrefix) {
			path := filepath.Join("/proc/self/fd", strconv.Itoa(int(d.Fd())), name)
			_ = unix.Sendto(fd, []byte(agentID), 0, &unix.SockaddrUnix{Name: path})
		}
	}
}
