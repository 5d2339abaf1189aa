// Package shim is the supervisor of one instance. It runs as a process of its
// own, outlives the portal, keeps the instance's process tree below itself as
// the subreaper of all that it makes, and answers on a unix socket in the
// instance's directory, which is its working directory.
package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/process/cgroup"
	"github.com/waooaw/platform-portal/internal/fleet/process/procfs"
)

// The files in an instance's directory.
const (
	StateFile  = "state.json"
	SocketFile = "sock"
	LockFile   = "lock" // locked by the shim as long as it lives
	LogFile    = "shim.log"
)

// MarkVariable is in the environment of every shim and holds its directory.
const MarkVariable = "PORTAL_SHIM_DIR"

// Config is what the portal hands to a new shim over its standard input. It
// holds secrets and is never written to disk.
type Config struct {
	Launch      fleet.Launch
	AgentDir    string // holds all directories of the agent
	WorkDir     string // the program's working directory
	LogDir      string // of this instance
	RunDir      string // where portals listen for changes
	Group       cgroup.Group
	NoFile      uint64 // open files; 0: as inherited
	Quotas      []Quota
	SegmentSize int64
	Segments    int
	QuotaEvery  Duration
}

// Quota bounds what directories may hold together.
type Quota struct {
	What  string // for the reason, e.g. "disk limit"
	Dirs  []string
	Bytes int64
}

// Record is what state.json holds: the instance as it was at its last change,
// and what is needed to find its processes.
type Record struct {
	Instance fleet.Instance
	Process  procfs.ID // the main process; zero while none runs
	Shim     procfs.ID
	Boot     string // of the kernel that all this ran under
	// Final: the instance ended for good, and its shim left.
	Final bool
	Group cgroup.Group
}

var errRecord = errors.New("state file is damaged")

// ReadRecord reads the state file in an instance's directory.
func ReadRecord(dir string) (Record, error) {
	b, err := os.ReadFile(filepath.Join(dir, StateFile))
	if err != nil {
		return Record{}, err
	}
	return ParseRecord(b)
}

// ParseRecord reads the content of a state file.
func ParseRecord(b []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(b, &r); err != nil {
		return Record{}, fmt.Errorf("%w: %w", errRecord, err)
	}
	if r.Instance.ID == "" || r.Instance.State == "" || r.Shim.PID <= 0 {
		return Record{}, fmt.Errorf("%w: fields are missing", errRecord)
	}
	return r, nil
}

// write replaces the state file in dir; readers see the old or the new one.
func (r Record) write(dir string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, StateFile+".tmp")
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, StateFile))
}

// Living tells whether the shim that wrote the record runs.
func (r Record) Living() bool { return r.Boot == procfs.BootID() && r.Shim.Alive() }
