package drive

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
)

// AgentProcesses finds every living process whose environment names an agent
// instance and the given data directory: pid to instance id. Supervisors are
// not among them.
func AgentProcesses(data string) (map[int]string, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	out := map[int]string{}
	for _, dir := range dirs {
		env, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil || !bytes.Contains(env, []byte("AGENT_DATA_DIR="+data+"/")) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if !Alive(pid) {
			continue
		}
		for _, kv := range bytes.Split(env, []byte{0}) {
			if id, ok := bytes.CutPrefix(kv, []byte("AGENT_INSTANCE=")); ok {
				out[pid] = string(id)
			}
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
