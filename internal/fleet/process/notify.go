package process

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/waooaw/platform-portal/internal/fleet/process/shim"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// changes hears from shims that something changed, and passes it on.
type changes struct {
	*upkeep.Changes
	dir  *os.File
	conn *net.UnixConn
	path string

	end  context.CancelFunc
	once sync.Once
	done sync.WaitGroup
}

// listen opens a socket in runDir under a name of its own, so that a portal that
// is just ending and its successor do not take each other's.
func listen(runDir string, log *slog.Logger) (*changes, error) {
	dir, err := os.Open(runDir)
	if err != nil {
		return nil, err
	}
	removeDead(dir, runDir)
	f, err := os.CreateTemp(runDir, shim.PokePrefix+strconv.Itoa(os.Getpid())+"-*.sock")
	if err != nil {
		dir.Close()
		return nil, err
	}
	f.Close()
	path := f.Name()
	_ = os.Remove(path)
	// By way of the descriptor, because socket paths must be short.
	short := filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())), filepath.Base(path))
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: short, Net: "unixgram"})
	if err != nil {
		dir.Close()
		return nil, err
	}
	_ = os.Chmod(path, 0o600)
	ctx, end := context.WithCancel(context.Background())
	c := &changes{Changes: upkeep.NewChanges(), dir: dir, conn: conn, path: path, end: end}
	c.done.Go(func() { c.receive(log) })
	c.done.Go(func() { c.Send(ctx) })
	return c, nil
}

// removeDead removes the sockets of portals that were killed.
func removeDead(dir *os.File, runDir string) {
	names, _ := dir.Readdirnames(-1)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	for _, name := range names {
		if !strings.HasPrefix(name, shim.PokePrefix) {
			continue
		}
		path := filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())), name)
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); errors.Is(err, unix.ECONNREFUSED) {
			_ = os.Remove(filepath.Join(runDir, name))
		}
	}
}

func (c *changes) receive(log *slog.Logger) {
	b := make([]byte, 256)
	for {
		n, err := c.conn.Read(b)
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				log.Warn("process runtime no longer hears of changes", "error", err)
			}
			return
		}
		if id := string(b[:n]); upkeep.CheckIDs(id) == nil {
			c.Add(id)
		}
	}
}

func (c *changes) close() (err error) {
	c.once.Do(func() {
		c.end()
		err = c.conn.Close()
		_ = os.Remove(c.path)
		c.done.Wait()
		c.dir.Close()
	})
	return err
}
