package drive

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/waooaw/platform-portal/internal/fleet/process/shim"
)

// AgentProcesses finds every living process whose environment names an agent
// instance and the given data directory: pid to instance id. Supervisors are
// not among them.
func AgentProcesses(data string) (map[int]string, error) {
	found, err := below("AGENT_DATA_DIR", data)
	out := map[int]string{}
	for pid, env := range found {
		for _, kv := range bytes.Split(env, []byte{0}) {
			if id, ok := bytes.CutPrefix(kv, []byte("AGENT_INSTANCE=")); ok {
				out[pid] = string(id)
			}
		}
	}
	return out, err
}

// EndAgents ends what still runs of the given data directory, whose portal has
// ended: supervisors first, which would start agents again.
func EndAgents(data string) error {
	var errs error
	for _, variable := range []string{shim.MarkVariable, "AGENT_DATA_DIR"} {
		found, err := below(variable, data)
		errs = errors.Join(errs, err)
		for pid := range found {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				errs = errors.Join(errs, err)
			}
		}
	}
	return errs
}

// below finds the living processes with a variable that is a path below dir: pid to
// environment.
func below(variable, dir string) (map[int][]byte, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	out := map[int][]byte{}
	for _, proc := range dirs {
		env, err := os.ReadFile(filepath.Join(proc, "environ"))
		if err != nil || !bytes.Contains(env, []byte(variable+"="+dir+"/")) {
			continue
		}
		if pid, _ := strconv.Atoi(filepath.Base(proc)); Alive(pid) {
			out[pid] = env
		}
	}
	return out, nil
}

// Alive tells whether a process exists and is not a zombie.
func Alive(pid int) bool {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	i := bytes.LastIndexByte(b, ')')
	return i > 0 && len(b) > i+2 && b[i+2] != 'Z' && b[i+2] != 'X'
}
