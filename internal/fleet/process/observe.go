package process

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/process/shim"
	"github.com/waooaw/platform-portal/internal/fleet/segment"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// Observe implements fleet.Runtime. It reads state files and asks nobody.
func (r *Runtime) Observe(ctx context.Context, agentID string) ([]fleet.Instance, error) {
	agents := []string{agentID}
	if agentID == "" {
		var err error
		if agents, err = names(r.cfg.Dir); err != nil {
			return nil, fault.New(fault.Unavailable, "agents.read", "the agents' directory cannot be read").
				Do("Check permissions of the data directory.").Wrap(err)
		}
		if r.swept.due(time.Minute) {
			r.sweepGroups()
		}
	} else if err := upkeep.CheckIDs(agentID); err != nil {
		return nil, err
	}
	var list []fleet.Instance
	for _, id := range agents {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		instances, err := names(r.instancesDir(id))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNotDir) {
			return nil, fault.New(fault.Unavailable, "instances.read", "the instances of %s cannot be read", id).
				Do("Check permissions of the data directory.").Wrap(err)
		}
		for _, name := range instances {
			if in, ok := r.observe(ctx, id, name); ok {
				list = append(list, in)
			}
		}
	}
	return list, nil
}

// observe gives one instance; false if it went away meanwhile.
func (r *Runtime) observe(ctx context.Context, agentID, instanceID string) (fleet.Instance, bool) {
	dir := r.instanceDir(agentID, instanceID)
	lost := fleet.Instance{ID: instanceID, AgentID: agentID, State: fleet.InstanceLost}
	rec, err := shim.ReadRecord(dir)
	for range 3 {
		if err != nil || rec.Instance.ID != instanceID || rec.Instance.AgentID != agentID || rec.Final || rec.Living() {
			break
		}
		// The shim may have written its last word and left since the file was read.
		lost = rec.Instance
		again, err2 := shim.ReadRecord(dir)
		same := err2 == nil && again.Shim == rec.Shim && again.Instance.State == rec.Instance.State
		if rec, err = again, err2; same {
			return r.lost(lost, "its supervisor (pid "+itoa(rec.Shim.PID)+") is gone"), true
		}
	}
	if err == nil && rec.Instance.ID == instanceID && rec.Instance.AgentID == agentID {
		return rec.Instance, true
	}
	switch {
	case !exists(dir):
		return fleet.Instance{}, false
	case locked(dir):
		if rec, err := status(ctx, dir); err == nil {
			return rec.Instance, true
		}
		lost.State = fleet.InstanceStarting
		return lost, true
	case r.locks.Busy(instanceID):
		lost.State = fleet.InstanceStarting
		return lost, true
	case errors.Is(err, fs.ErrNotExist):
		return r.lost(lost, "its launch was interrupted"), true
	}
	return r.lost(lost, "its state file is damaged"), true
}

func (r *Runtime) lost(in fleet.Instance, reason string) fleet.Instance {
	in.State, in.Reason, in.PID = fleet.InstanceLost, reason, 0
	in.LastLogs = segment.Last(filepath.Join(r.logsDir(in.AgentID), in.ID), 20, 400)
	return in
}

// status asks a shim whose state file cannot be used.
func status(ctx context.Context, dir string) (shim.Record, error) {
	bounded, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	response, err := shim.Call(bounded, dir, shim.Request{Op: shim.OpStatus})
	if err != nil {
		return shim.Record{}, err
	}
	if response.Record == nil {
		return shim.Record{}, shim.ErrNoShim
	}
	return *response.Record, nil
}

var errNotDir = errors.New("not a directory")

// names gives the entries of a directory that can be ids, sorted.
func names(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		if strings.Contains(err.Error(), "not a directory") {
			return nil, errNotDir
		}
		return nil, err
	}
	defer d.Close()
	list, err := d.Readdirnames(-1)
	if err != nil {
		return nil, errNotDir
	}
	list = slices.DeleteFunc(list, func(name string) bool { return upkeep.CheckIDs(name) != nil })
	slices.Sort(list)
	return list, nil
}

// sweep remembers when something was done last.
type sweep struct {
	mu   sync.Mutex
	last time.Time
}

func (s *sweep) due(every time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.last) < every {
		return false
	}
	s.last = time.Now()
	return true
}
