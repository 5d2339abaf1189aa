package process

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// Agents implements fleet.Accountant.
func (r *Runtime) Agents(context.Context) ([]string, error) {
	list, err := names(r.cfg.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	list = slices.DeleteFunc(list, func(id string) bool { return upkeep.CheckIDs(id) != nil })
	slices.Sort(list)
	return list, err
}

// Holdings implements fleet.Accountant.
func (r *Runtime) Holdings(ctx context.Context, agentID string) ([]fleet.Holding, error) {
	if err := upkeep.CheckIDs(agentID); err != nil {
		return nil, err
	}
	var list []fleet.Holding
	add := func(kind, name, instance, dir string) {
		info, err := os.Stat(dir)
		if err != nil || !info.IsDir() {
			return
		}
		list = append(list, fleet.Holding{Kind: kind, Name: name, Where: dir, Instance: instance, Bytes: r.disk.use(dir), CreatedAt: info.ModTime().UTC()})
	}
	add("directory", "data", "", r.DataDir(agentID))
	add("directory", "work", "", r.WorkDir(agentID))
	for _, part := range []struct{ kind, dir string }{
		{"volume", r.volumeDir(agentID, "")}, {"logs", r.logsDir(agentID)}, {"instance", r.instancesDir(agentID)},
	} {
		entries, err := names(part.dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNotDir) {
			return nil, err
		}
		for _, name := range entries {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			instance := name
			if part.kind == "volume" {
				instance = ""
			}
			add(part.kind, name, instance, filepath.Join(part.dir, name))
		}
	}
	for _, name := range r.host.Names() {
		if exists(r.instanceDir(agentID, name)) {
			list = append(list, fleet.Holding{Kind: "cgroup", Name: name, Instance: name})
		}
	}
	fleet.SortHoldings(list)
	return list, nil
}

var _ fleet.Accountant = (*Runtime)(nil)
