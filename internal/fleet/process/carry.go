package process

import (
	"context"
	"io"
	"os"
	"syscall"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/cargo"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

var _ fleet.Carrier = (*Runtime)(nil)

// margin is what has to stay free on the disk beside what is copied to it.
const margin = 128 << 20

// Carries implements fleet.Carrier: instances of an agent share its directories.
func (r *Runtime) Carries(context.Context) (apart bool, err error) { return false, nil }

// PackVolume implements fleet.Carrier.
func (r *Runtime) PackVolume(ctx context.Context, l fleet.Launch, volume string, w io.Writer) error {
	root, err := r.open(l.AgentID, volume)
	if err != nil {
		return err
	}
	defer root.Close()
	return cargo.Pack(ctx, root, w)
}

// UnpackVolume implements fleet.Carrier.
func (r *Runtime) UnpackVolume(ctx context.Context, l fleet.Launch, volume string, bytes int64, in io.Reader) error {
	root, err := r.open(l.AgentID, volume)
	if err != nil {
		return err
	}
	defer root.Close()
	var disk syscall.Statfs_t
	if err := syscall.Statfs(root.Name(), &disk); err != nil {
		return err
	}
	if free := int64(disk.Bavail) * disk.Bsize; free < bytes+margin {
		return fault.New(fault.Unavailable, "agent.directories", "There is no room for the content of %s", l.AgentID).
			Because("%d MiB are free, and %d MiB are needed with what has to stay free", free>>20, (bytes+margin)>>20).
			Do("Make room on the disk of the data directory, then move the agent again.")
	}
	return cargo.Unpack(ctx, root, in)
}

// open gives the directory of a volume. A link in its place is not followed out of
// the agent's directory.
func (r *Runtime) open(agentID, volume string) (*os.Root, error) {
	if err := upkeep.CheckIDs(agentID); err != nil {
		return nil, err
	}
	name := "data"
	if volume != fleet.DataVolume {
		if err := upkeep.CheckIDs(volume); err != nil {
			return nil, err
		}
		name = "volumes/" + volume
	}
	own, err := os.OpenRoot(r.agentDir(agentID))
	if err != nil {
		return nil, err
	}
	defer own.Close()
	return own.OpenRoot(name)
}
