package fleet

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
)

// port gives the instance its port, one that it can listen on. held tells that
// the instance itself runs and may be the one that listens.
func (s *Service) port(ctx context.Context, a *agent.Agent, index int, held bool) (int, error) {
	from, to := s.ports()
	p, err := s.Observed.ReservePort(ctx, a.ID, index, from, to, free)
	if err != nil || held || free(p) {
		return p, err
	}
	// Something foreign sits on the port that was reserved earlier.
	if err := s.Observed.ReleasePort(ctx, a.ID, index); err != nil {
		return 0, err
	}
	return s.Observed.ReservePort(ctx, a.ID, index, from, to, free)
}

// fixedPorts checks that nobody has the ports that the spec itself names.
func (s *Service) fixedPorts(spec agent.Spec) error {
	for _, p := range spec.Ports {
		if free(p.Port) {
			continue
		}
		f := fault.New(fault.Conflict, "fleet.port_in_use", "Port %d is in use", p.Port).With("port", p.Port)
		if who, ok := holderOf("/proc", p.Port); ok {
			f.What = fmt.Sprintf("Port %d is in use by process %s (pid %d)", p.Port, who.name, who.pid)
			f.With("process", who.name).With("pid", who.pid)
		}
		return f.Because("%s needs it as %q", spec.Name, p.Name).
			Do("Stop what uses it, or give the agent another port (%s).", s.suggest(p.Port))
	}
	return nil
}

// suggest names a port near the taken one that is free now.
func (s *Service) suggest(taken int) string {
	for p := taken + 1; p < min(taken+100, 65536); p++ {
		if free(p) {
			return strconv.Itoa(p) + " is free"
		}
	}
	return "one that is free"
}

// holder is the process that listens on a port.
type holder struct {
	pid  int
	name string
}

// holderOf looks up which process listens on a TCP port, as far as the
// operating system lets the portal see.
func holderOf(proc string, port int) (holder, bool) {
	inodes := map[string]bool{}
	for _, table := range []string{"tcp", "tcp6"} {
		listeners(filepath.Join(proc, "net", table), port, inodes)
	}
	if len(inodes) == 0 {
		return holder{}, false
	}
	links, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "fd", "*"))
	if err != nil {
		return holder{}, false
	}
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || !inodes[strings.TrimSuffix(strings.TrimPrefix(target, "socket:["), "]")] {
			continue
		}
		dir := filepath.Dir(filepath.Dir(link))
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		name, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil {
			continue
		}
		return holder{pid: pid, name: strings.TrimSpace(string(name))}, true
	}
	return holder{}, false
}

// listeners adds the inodes of the sockets that listen on the port, from a table
// such as /proc/net/tcp: columns local address, state (0A is LISTEN), inode.
func listeners(path string, port int, inodes map[string]bool) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
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
