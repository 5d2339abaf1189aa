package process

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/process/shim"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// Prepare implements fleet.Runtime.
func (r *Runtime) Prepare(ctx context.Context, l fleet.Launch) error {
	if err := upkeep.CheckIDs(l.AgentID); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := r.makeDirs(l); err != nil {
		return err
	}
	_, err := shim.Find(l.Command, r.WorkDir(l.AgentID), r.environ(l)["PATH"])
	return err
}

// environ completes the launch's environment with what a program cannot do
// without, and with the marks by which its processes are found again.
func (r *Runtime) environ(l fleet.Launch) map[string]string {
	env := maps.Clone(l.Env)
	if env == nil {
		env = map[string]string{}
	}
	if _, ok := env["PATH"]; !ok {
		env["PATH"] = shim.DefaultPath
		if p := os.Getenv("PATH"); p != "" {
			env["PATH"] = p
		}
	}
	env["AGENT_INSTANCE"] = l.InstanceID
	env["AGENT_DATA_DIR"] = r.DataDir(l.AgentID)
	return env
}

// makeDirs makes the agent's directories and puts its volumes in place.
func (r *Runtime) makeDirs(l fleet.Launch) error {
	for _, dir := range []string{
		r.WorkDir(l.AgentID), r.DataDir(l.AgentID), r.logsDir(l.AgentID), r.instancesDir(l.AgentID),
	} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return noSpace(l.AgentID, err)
		}
	}
	if len(l.Volumes) == 0 {
		return nil
	}
	work, err := os.OpenRoot(r.WorkDir(l.AgentID))
	if err != nil {
		return noSpace(l.AgentID, err)
	}
	defer work.Close()
	for i, v := range l.Volumes {
		if err := r.link(work, l.AgentID, v); err != nil {
			if f := fault.As(err); f != nil {
				return f.At(fault.Field{Path: "volumes[" + itoa(i) + "].path", Message: f.Why})
			}
			return noSpace(l.AgentID, err)
		}
	}
	return nil
}

// link makes the volume and lets it appear in the working directory. Root keeps
// every step inside, whatever links the agent itself has put there.
func (r *Runtime) link(work *os.Root, agentID string, v agent.Volume) error {
	path := v.Path
	if path == "" {
		path = v.Name
	}
	path = filepath.Clean(path)
	if upkeep.CheckIDs(v.Name) != nil {
		return badVolume(v, "a volume's name has letters, digits, dots, dashes and underscores only")
	}
	if !filepath.IsLocal(path) || path == "." || strings.ContainsRune(path, 0) {
		return badVolume(v, "its path leaves the working directory")
	}
	if err := os.MkdirAll(r.volumeDir(agentID, v.Name), 0o700); err != nil {
		return err
	}
	if parent := filepath.Dir(path); parent != "." {
		if err := work.MkdirAll(parent, 0o700); err != nil {
			return badVolume(v, "its path "+path+" leads out of the working directory or through a file")
		}
	}
	target, err := filepath.Rel(filepath.Join(r.WorkDir(agentID), filepath.Dir(path)), r.volumeDir(agentID, v.Name))
	if err != nil {
		return err
	}
	info, err := work.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return badVolume(v, "its path "+path+" leads out of the working directory or through a file")
	case info.Mode()&fs.ModeSymlink != 0:
		if now, err := work.Readlink(path); err == nil && now == target {
			return nil
		}
		fallthrough
	default:
		// A link to elsewhere, or an empty directory; anything else is the agent's.
		if err := work.Remove(path); err != nil {
			return badVolume(v, "the path "+path+" is in use by something else")
		}
	}
	if err := work.Symlink(target, path); err != nil {
		if errors.Is(err, fs.ErrExist) { // another instance of the agent was faster
			return nil
		}
		return badVolume(v, "its path "+path+" cannot be linked")
	}
	return nil
}

func (r *Runtime) volumeDir(agentID, name string) string {
	return filepath.Join(r.agentDir(agentID), "volumes", name)
}

func badVolume(v agent.Volume, why string) *fault.Error {
	return fault.New(fault.Invalid, "volume.path", "volume %.100q cannot be used", v.Name).Because("%s", why).
		Do("Give it a relative path that is free, without \"..\".")
}

// noSpace is a failure to make a directory.
func noSpace(agentID string, err error) error {
	return fault.New(fault.Unavailable, "agent.directories", "the directories of %s could not be made", agentID).
		Because("%v", errors.Unwrap(err)).Do("Check space and permissions of the data directory.").Wrap(err)
}

// quotas are the disk limits that the shim watches.
func (r *Runtime) quotas(l fleet.Launch) []shim.Quota {
	var list []shim.Quota
	if l.Resources.Disk > 0 {
		list = append(list, shim.Quota{What: "disk limit", Bytes: int64(l.Resources.Disk), Dirs: []string{
			r.WorkDir(l.AgentID), r.DataDir(l.AgentID), filepath.Join(r.agentDir(l.AgentID), "volumes"),
		}})
	}
	for _, v := range l.Volumes {
		if v.Size > 0 {
			list = append(list, shim.Quota{
				What: "size of volume " + v.Name, Bytes: int64(v.Size), Dirs: []string{r.volumeDir(l.AgentID, v.Name)},
			})
		}
	}
	return slices.Clip(list)
}
