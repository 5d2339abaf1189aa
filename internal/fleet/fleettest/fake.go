// Package fleettest holds what proves and replaces runtimes in tests: Run, the
// conformance suite that every runtime passes; Program, the program that the
// suite lets runtimes run; and Fake, a runtime in memory that passes the suite.
package fleettest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
)

// Fake is a runtime in memory. It plays the behaviours of Program (see there)
// where a launch's first argument names one; anything else runs until it is
// stopped. A command below "/no/such/" does not exist. It starts no goroutine
// for an instance that merely runs.
type Fake struct {
	name    string
	w       *world
	changes chan string
}

// world is what outlives a Fake: the machine that instances run on.
type world struct {
	mu     sync.Mutex
	agents map[string]*fakeAgent
	views  []*Fake
	pid    int
	seq    int
	fail   map[string]error
	gates  map[string]chan struct{}
	calls  []string
	apart  bool // instances have volumes of their own
	checks []fleet.Check
	usage  map[string]fleet.Usage
	exec   func(ctx context.Context, instanceID string, command []string) (int, string, error)
	wake   chan struct{} // closed and replaced with each new line
	last   time.Time     // of the newest line
}

type fakeAgent struct {
	instances map[string]*fakeInstance
	logs      []fleet.LogLine
	files     map[string]string // of the file behaviour
	volumes   map[string][]byte // content as an archive
}

type fakeInstance struct {
	fleet.Instance
	launch   fleet.Launch
	starts   []time.Time // restarts within the window
	failures int         // ends in a row, for the back-off
	run      int         // grows with each start, so that old timers know that they are old
	count    int         // of the ticks behaviour: the memory of the instance
	changed  changed     // by Change
	stopping chan struct{}
}

// NewFake gives a runtime named "process" with nothing on it.
func NewFake() *Fake { return NewNamedFake("process") }

// NewNamedFake gives a runtime with the name.
func NewNamedFake(name string) *Fake {
	w := &world{
		agents: map[string]*fakeAgent{}, pid: 100000, fail: map[string]error{},
		gates: map[string]chan struct{}{}, usage: map[string]fleet.Usage{}, wake: make(chan struct{}),
		checks: []fleet.Check{{Name: "memory_limit", OK: true, How: "in memory"}},
	}
	return w.view(name)
}

func (w *world) view(name string) *Fake {
	f := &Fake{name: name, w: w, changes: make(chan string, 4096)}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.views = append(w.views, f)
	return f
}

// Reopen gives a second runtime object over the same instances, as after the
// portal's death.
func (f *Fake) Reopen() *Fake { return f.w.view(f.name) }

// Name implements fleet.Runtime.
func (f *Fake) Name() string { return f.name }

// Report implements fleet.Runtime.
func (f *Fake) Report(context.Context) []fleet.Check {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	return slices.Clone(f.w.checks)
}

// Changes implements fleet.Notifier. It drops values that nobody takes in time.
func (f *Fake) Changes() <-chan string { return f.changes }

// enter notes the call, waits while Block holds it, and gives the failure that
// Fail set for it. It returns with the lock held if there is no error.
func (f *Fake) enter(ctx context.Context, method, target string) error {
	w := f.w
	w.mu.Lock()
	w.calls = append(w.calls, strings.TrimSpace(method+" "+target))
	gate := w.gates[method]
	if gate != nil {
		w.mu.Unlock()
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
		w.mu.Lock()
	}
	err := w.fail[method]
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		w.mu.Unlock()
	}
	return err
}

// Prepare implements fleet.Runtime.
func (f *Fake) Prepare(ctx context.Context, l fleet.Launch) error {
	if err := f.enter(ctx, "Prepare", l.InstanceID); err != nil {
		return err
	}
	defer f.w.mu.Unlock()
	if err := usable(l); err != nil {
		return err
	}
	f.w.agent(l.AgentID)
	return nil
}

// Launch implements fleet.Runtime.
func (f *Fake) Launch(ctx context.Context, l fleet.Launch) error {
	if err := f.enter(ctx, "Launch", l.InstanceID); err != nil {
		return err
	}
	defer f.w.mu.Unlock()
	if err := usable(l); err != nil {
		return err
	}
	a := f.w.agent(l.AgentID)
	if in := a.instances[l.InstanceID]; in != nil && active(in.State) {
		return nil
	}
	l.Env = maps.Clone(l.Env)
	in := &fakeInstance{launch: l, Instance: fleet.Instance{
		ID: l.InstanceID, AgentID: l.AgentID, Revision: l.Revision, Index: l.Index, Port: l.Port,
	}}
	a.instances[l.InstanceID] = in
	f.w.start(in)
	return nil
}

// Stop implements fleet.Runtime.
func (f *Fake) Stop(ctx context.Context, agentID, instanceID string, grace time.Duration) error {
	if err := f.enter(ctx, "Stop", instanceID); err != nil {
		return err
	}
	a := f.w.agents[agentID]
	if a == nil || a.instances[instanceID] == nil {
		f.w.mu.Unlock()
		return nil
	}
	in := a.instances[instanceID]
	var ended chan struct{}
	if in.behaviour(0) == "stubborn" && grace > 0 && in.PID != 0 {
		ended = f.w.linger(in, grace)
	} else {
		f.w.end(in)
	}
	f.w.mu.Unlock()
	if ended == nil {
		return nil
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Observe implements fleet.Runtime.
func (f *Fake) Observe(ctx context.Context, agentID string) ([]fleet.Instance, error) {
	if err := f.enter(ctx, "Observe", agentID); err != nil {
		return nil, err
	}
	defer f.w.mu.Unlock()
	var list []fleet.Instance
	for id, a := range f.w.agents {
		if agentID != "" && id != agentID {
			continue
		}
		for _, in := range a.instances {
			seen := in.Instance
			seen.LastLogs = slices.Clone(seen.LastLogs)
			list = append(list, seen)
		}
	}
	slices.SortFunc(list, func(x, y fleet.Instance) int { return strings.Compare(x.ID, y.ID) })
	return list, nil
}

// Remove implements fleet.Runtime.
func (f *Fake) Remove(ctx context.Context, agentID string) error {
	if err := f.enter(ctx, "Remove", agentID); err != nil {
		return err
	}
	defer f.w.mu.Unlock()
	if a := f.w.agents[agentID]; a != nil {
		for _, in := range a.instances {
			f.w.end(in)
		}
		delete(f.w.agents, agentID)
	}
	return nil
}

// Suspend implements fleet.Suspender.
func (f *Fake) Suspend(ctx context.Context, agentID, instanceID string) error {
	return f.change(ctx, "Suspend", agentID, instanceID, func(in *fakeInstance) error {
		if in.State == fleet.InstanceSuspended {
			return nil
		}
		if !active(in.State) {
			return ended(in)
		}
		f.w.set(in, fleet.InstanceSuspended, "suspended")
		return nil
	})
}

// Resume implements fleet.Suspender.
func (f *Fake) Resume(ctx context.Context, agentID, instanceID string) error {
	return f.change(ctx, "Resume", agentID, instanceID, func(in *fakeInstance) error {
		if in.State != fleet.InstanceSuspended {
			if !active(in.State) {
				return ended(in)
			}
			return nil
		}
		if in.PID == 0 {
			f.w.start(in)
			return nil
		}
		f.w.set(in, fleet.InstanceRunning, "")
		f.w.play(in, in.run)
		return nil
	})
}

// Restart implements fleet.Restarter.
func (f *Fake) Restart(ctx context.Context, agentID, instanceID, reason string) error {
	return f.change(ctx, "Restart", agentID, instanceID, func(in *fakeInstance) error {
		if !active(in.State) || in.State == fleet.InstanceStopping {
			return ended(in)
		}
		in.Signal, in.ExitCode = "SIGKILL", nil
		if !f.w.mayRestart(in, "restarted: "+reason) {
			return fault.New(fault.Conflict, "instance.restart_limit", "%s was not restarted", in.ID).Because("%s", in.Reason)
		}
		f.w.start(in)
		in.Reason = "restarted: " + reason
		return nil
	})
}

// Exec implements fleet.Execer: what OnExec says, or the behaviours of Program.
func (f *Fake) Exec(ctx context.Context, agentID, instanceID string, command []string) (int, string, error) {
	err := f.change(ctx, "Exec", agentID, instanceID, func(in *fakeInstance) error {
		if in.State != fleet.InstanceRunning {
			return ended(in)
		}
		return nil
	})
	if err != nil {
		return -1, "", err
	}
	f.w.mu.Lock()
	exec, in := f.w.exec, f.w.find(agentID, instanceID)
	f.w.mu.Unlock()
	if exec != nil {
		return exec(ctx, instanceID, command)
	}
	return fakeExec(ctx, in, command)
}

// Usage implements fleet.Meter: what SetUsage said, or one process of 1 MiB.
func (f *Fake) Usage(ctx context.Context, agentID, instanceID string) (u fleet.Usage, err error) {
	err = f.change(ctx, "Usage", agentID, instanceID, func(in *fakeInstance) error {
		u = fleet.Usage{CPUSeconds: 0.01, Memory: 1 << 20, PIDs: 1, Disk: 4096}
		if set, ok := f.w.usage[instanceID]; ok {
			u = set
		}
		return nil
	})
	return u, err
}

// change runs fn on an instance that must be there.
func (f *Fake) change(ctx context.Context, method, agentID, instanceID string, fn func(*fakeInstance) error) error {
	if err := f.enter(ctx, method, instanceID); err != nil {
		return err
	}
	defer f.w.mu.Unlock()
	in := f.w.find(agentID, instanceID)
	if in == nil {
		return fault.New(fault.NotFound, "instance.not_found", "instance %s is not there", instanceID)
	}
	return fn(in)
}

func usable(l fleet.Launch) error {
	if l.Command == "" || strings.HasPrefix(l.Command, "/no/such/") {
		return fault.New(fault.Invalid, "command.not_found", "%s cannot run", l.AgentID).
			Because("the command %q does not exist", l.Command).Do("Correct command, or install the program.")
	}
	for _, v := range l.Volumes {
		if strings.Contains(v.Path, "..") || strings.HasPrefix(v.Path, "/") {
			return fault.New(fault.Invalid, "volume.path", "volume %s cannot be used", v.Name).
				Because("its path leaves the working directory").Do("Use a relative path without \"..\".")
		}
	}
	return nil
}

func active(s fleet.InstanceState) bool {
	switch s {
	case fleet.InstanceExited, fleet.InstanceFailed, fleet.InstanceLost:
		return false
	}
	return true
}

func ended(in *fakeInstance) error {
	return fault.New(fault.Conflict, "instance.not_running", "%s does not run", in.ID).Because("it is %s", in.State)
}

var errDeadline = errors.New("the command was ended at its deadline")

var (
	_ fleet.Runtime   = (*Fake)(nil)
	_ fleet.Suspender = (*Fake)(nil)
	_ fleet.Restarter = (*Fake)(nil)
	_ fleet.Execer    = (*Fake)(nil)
	_ fleet.Notifier  = (*Fake)(nil)
	_ fleet.LogReader = (*Fake)(nil)
	_ fleet.Meter     = (*Fake)(nil)
)
