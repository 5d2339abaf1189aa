package fleettest

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fleet"
)

// Fail lets every call of the method ("Launch", "Stop", …) fail with err from
// now on; nil ends it.
func (f *Fake) Fail(method string, err error) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.w.fail[method] = err
}

// Block holds every call of the method until release is called; a held call
// ends with its context.
func (f *Fake) Block(method string) (release func()) {
	gate := make(chan struct{})
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.w.gates[method] = gate
	return func() {
		f.w.mu.Lock()
		defer f.w.mu.Unlock()
		if f.w.gates[method] == gate {
			delete(f.w.gates, method)
			close(gate)
		}
	}
}

// Calls gives all calls so far as "Method target", the target being an instance
// (Prepare, Launch, Stop, …) or an agent (Observe, Remove, ReadLogs).
func (f *Fake) Calls() []string {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	return slices.Clone(f.w.calls)
}

// Launched gives what the instance was launched with last.
func (f *Fake) Launched(agentID, instanceID string) (fleet.Launch, bool) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	if in := f.w.find(agentID, instanceID); in != nil {
		return in.launch, true
	}
	return fleet.Launch{}, false
}

// Crash ends the instance's process as if it had exited by itself with the
// code; its restart policy decides what follows. It tells whether it ran.
func (f *Fake) Crash(agentID, instanceID string, code int) bool {
	return f.with(agentID, instanceID, func(in *fakeInstance) bool {
		if in.PID == 0 {
			return false
		}
		in.run++
		f.w.exit(in, code)
		return true
	})
}

// Lose makes the instance's supervisor disappear.
func (f *Fake) Lose(agentID, instanceID string) bool {
	return f.with(agentID, instanceID, func(in *fakeInstance) bool {
		in.run++
		in.PID = 0
		f.w.set(in, fleet.InstanceLost, "its supervisor is gone")
		return true
	})
}

// OOM ends the instance as failed by its memory limit.
func (f *Fake) OOM(agentID, instanceID string) bool {
	return f.with(agentID, instanceID, func(in *fakeInstance) bool {
		in.run++
		in.PID, in.Signal, in.OOMKilled, in.EndedAt = 0, "SIGKILL", true, time.Now()
		f.w.set(in, fleet.InstanceFailed, "killed: out of memory")
		return true
	})
}

// Print adds a line to the instance's output.
func (f *Fake) Print(agentID, instanceID, stream, text string) bool {
	return f.with(agentID, instanceID, func(in *fakeInstance) bool {
		f.w.print(in, stream, text)
		return true
	})
}

// changed is what somebody else made of an instance.
type changed struct {
	env    map[string]*string
	probes *agent.Probes
	unsaid map[string]string
}

// Change gives an instance other variables, nil for one that it loses, as somebody on the
// machine could.
func (f *Fake) Change(agentID, instanceID string, env map[string]*string) bool {
	return f.with(agentID, instanceID, func(in *fakeInstance) bool {
		in.changed.env = env
		in.Drift = slices.DeleteFunc(slices.Clone(in.Drift), func(d fleet.Difference) bool { return strings.HasPrefix(d.Field, "env.") })
		for _, name := range slices.Sorted(maps.Keys(env)) {
			in.Drift = append(in.Drift, fleet.Difference{Field: "env." + name, Wanted: "the value that was written", Live: "another value"})
		}
		return true
	})
}

// ChangeProbes gives an instance other probes, and says of fields why no specification
// can have them.
func (f *Fake) ChangeProbes(agentID, instanceID string, now agent.Probes, unsaid map[string]string, fields ...string) bool {
	return f.with(agentID, instanceID, func(in *fakeInstance) bool {
		in.changed.probes, in.changed.unsaid = &now, unsaid
		for _, field := range fields {
			in.Drift = append(slices.Clone(in.Drift), fleet.Difference{Field: field, Wanted: "asked so", Live: "asked otherwise"})
		}
		return true
	})
}

// LiveProbes implements fleet.Witness.
func (f *Fake) LiveProbes(ctx context.Context, agentID, instanceID string, had agent.Probes) (now agent.Probes, unsaid map[string]string, err error) {
	err = f.change(ctx, "LiveProbes", agentID, instanceID, func(in *fakeInstance) error {
		if now, unsaid = had, in.changed.unsaid; in.changed.probes != nil {
			now = *in.changed.probes
		}
		return nil
	})
	return now, unsaid, err
}

// LiveEnv implements fleet.Witness.
func (f *Fake) LiveEnv(ctx context.Context, agentID, instanceID string) (env map[string]*string, err error) {
	err = f.change(ctx, "LiveEnv", agentID, instanceID, func(in *fakeInstance) error {
		env = maps.Clone(in.changed.env)
		return nil
	})
	return env, err
}

var _ fleet.Witness = (*Fake)(nil)

func (f *Fake) with(agentID, instanceID string, fn func(*fakeInstance) bool) bool {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	in := f.w.find(agentID, instanceID)
	return in != nil && fn(in)
}

// SetChecks sets what Report gives.
func (f *Fake) SetChecks(checks ...fleet.Check) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.w.checks = checks
}

// SetUsage sets what Usage gives for the instance.
func (f *Fake) SetUsage(instanceID string, u fleet.Usage) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.w.usage[instanceID] = u
}

// OnExec sets what Exec answers; nil brings back the behaviours of Program.
func (f *Fake) OnExec(fn func(ctx context.Context, instanceID string, command []string) (int, string, error)) {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	f.w.exec = fn
}

// Agents implements fleet.Accountant.
func (f *Fake) Agents(ctx context.Context) ([]string, error) {
	if err := f.enter(ctx, "Agents", ""); err != nil {
		return nil, err
	}
	defer f.w.mu.Unlock()
	return slices.Sorted(maps.Keys(f.w.agents)), nil
}

// Holdings implements fleet.Accountant.
func (f *Fake) Holdings(ctx context.Context, agentID string) ([]fleet.Holding, error) {
	if err := f.enter(ctx, "Holdings", agentID); err != nil {
		return nil, err
	}
	defer f.w.mu.Unlock()
	a := f.w.agents[agentID]
	if a == nil {
		return nil, nil
	}
	list := []fleet.Holding{{Kind: "directory", Name: "data", Bytes: 4096}}
	for id := range a.instances {
		list = append(list, fleet.Holding{Kind: "instance", Name: id, Instance: id})
	}
	fleet.SortHoldings(list)
	return list, nil
}

var _ fleet.Accountant = (*Fake)(nil)
