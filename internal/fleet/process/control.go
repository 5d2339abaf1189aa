package process

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/process/shim"
	"github.com/waooaw/platform-portal/internal/fleet/segment"
	"github.com/waooaw/platform-portal/internal/fleet/upkeep"
)

// Suspend implements fleet.Suspender.
func (r *Runtime) Suspend(ctx context.Context, agentID, instanceID string) error {
	_, err := r.ask(ctx, agentID, instanceID, shim.Request{Op: shim.OpFreeze})
	return err
}

// Resume implements fleet.Suspender.
func (r *Runtime) Resume(ctx context.Context, agentID, instanceID string) error {
	_, err := r.ask(ctx, agentID, instanceID, shim.Request{Op: shim.OpThaw})
	return err
}

// Restart implements fleet.Restarter.
func (r *Runtime) Restart(ctx context.Context, agentID, instanceID, reason string) error {
	_, err := r.ask(ctx, agentID, instanceID, shim.Request{Op: shim.OpRestart, Reason: reason})
	return err
}

// Exec implements fleet.Execer. A command that a signal ended has the code 128
// plus the signal's number, as in a shell. At the context's deadline the error
// wraps context.DeadlineExceeded and the output so far is given.
func (r *Runtime) Exec(ctx context.Context, agentID, instanceID string, command []string) (int, string, error) {
	q := shim.Request{Op: shim.OpExec, Argv: command}
	asked := ctx
	if deadline, ok := ctx.Deadline(); ok {
		q.Timeout = max(time.Until(deadline), time.Millisecond)
		// The shim ends the command at the deadline; its answer comes a moment later.
		var cancel context.CancelFunc
		asked, cancel = context.WithDeadline(context.WithoutCancel(ctx), deadline.Add(6*time.Second))
		defer cancel()
		stop := context.AfterFunc(ctx, func() {
			if errors.Is(ctx.Err(), context.Canceled) {
				cancel()
			}
		})
		defer stop()
	}
	response, err := r.ask(asked, agentID, instanceID, q)
	if err != nil {
		return -1, "", err
	}
	if response.Ended {
		return -1, response.Output, fault.New(fault.Unavailable, "exec.timeout", "the command in %s was ended", instanceID).
			Because("it did not end in time").Do("Allow it more time.").Wrap(context.DeadlineExceeded)
	}
	return response.Code, response.Output, nil
}

// Usage implements fleet.Meter. The disk use of an agent is measured at most
// every ten seconds.
func (r *Runtime) Usage(ctx context.Context, agentID, instanceID string) (fleet.Usage, error) {
	response, err := r.ask(ctx, agentID, instanceID, shim.Request{Op: shim.OpUsage})
	if err != nil {
		return fleet.Usage{}, err
	}
	if response.Usage == nil {
		return fleet.Usage{}, shim.ErrNoShim
	}
	u := *response.Usage
	u.Disk = r.disk.use(r.agentDir(agentID))
	return u, nil
}

// ReadLogs implements fleet.LogReader. The cursor of a line says how far every
// instance of the agent was read.
func (r *Runtime) ReadLogs(ctx context.Context, q fleet.LogQuery, fn func(fleet.LogLine) error) error {
	return segment.Read(ctx, r.logsDir(q.AgentID), q, fn)
}

// ask sends a request to the instance's shim.
func (r *Runtime) ask(ctx context.Context, agentID, instanceID string, q shim.Request) (shim.Response, error) {
	if err := upkeep.CheckIDs(agentID, instanceID); err != nil {
		return shim.Response{}, err
	}
	dir := r.instanceDir(agentID, instanceID)
	response, err := shim.Call(ctx, dir, q)
	if err == nil {
		return response, response.Err()
	}
	if !errors.Is(err, shim.ErrNoShim) {
		return shim.Response{}, err
	}
	rec, rerr := shim.ReadRecord(dir)
	switch {
	case errors.Is(rerr, fs.ErrNotExist) && !exists(dir):
		return shim.Response{}, fault.New(fault.NotFound, "instance.not_found", "instance %s is not there", instanceID)
	case rerr == nil && rec.Final:
		return shim.Response{}, fault.New(fault.Conflict, "instance.not_running", "%s does not run", instanceID).
			Because("it is %s: %s", rec.Instance.State, rec.Instance.Reason).Do("Start the agent.")
	}
	return shim.Response{}, fault.New(fault.Unavailable, "instance.lost", "the supervisor of %s does not answer", instanceID).
		Do("Stop the agent and start it again.").Wrap(err)
}

// diskCache spares walks through directories.
type diskCache struct {
	mu   sync.Mutex
	seen map[string]diskUse
}

type diskUse struct {
	at    time.Time
	bytes int64
}

const diskEvery = 10 * time.Second

func (c *diskCache) use(dir string) int64 {
	c.mu.Lock()
	u, ok := c.seen[dir]
	c.mu.Unlock()
	if ok && time.Since(u.at) < diskEvery {
		return u.bytes
	}
	u = diskUse{time.Now(), shim.DiskUse(dir)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil || len(c.seen) > 20_000 {
		c.seen = map[string]diskUse{}
	}
	c.seen[dir] = u
	return u.bytes
}
