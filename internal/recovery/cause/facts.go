package cause

import (
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/health"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/queue"
)

// Facts are what is known of one agent at one moment. Whatever is nil or zero is
// not known, and speaks neither for nor against anything.
type Facts struct {
	Now          time.Time
	AgentID      string
	State        agent.State
	Health       agent.Health
	HealthReason string
	// Revision and Spec are those that run, or that could not be run.
	Revision int
	Spec     agent.Spec
	// Good is the newest other revision that is known to have run well.
	Good *Good
	// Failure is why the agent is ERRORED.
	Failure *agent.Failure
	// Step is the step that failed, of an operation of the kind, and Problem why.
	Step    string
	Kind    string
	Problem *operation.Problem
	// Ended is the instance whose run ended last, and not because it was told to.
	Ended     *fleet.Instance
	Instances []fleet.Instance
	// Lines are what was printed last, oldest first.
	Lines []string
	// Environment are the names of all variables that the instances get.
	Environment map[string]bool
	// Dependencies are the agents that it declares to need.
	Dependencies []Peer
	// PeerAt gives the agent whose instance has the port.
	PeerAt func(port int) *Peer
	// HolderOf gives the process that listens on the port.
	HolderOf func(port int) *Holder
	// FreePort gives a port near the one that nobody uses; 0 if there is none.
	FreePort func(near int) int
	// Find looks up a command as the runtime would, and gives those that are there
	// and have almost the same name.
	Find func(command string) (there bool, near []string)
	// Probes are the newest changes of what probes say, newest first.
	Probes []health.Result
	// Samples are what instances used, oldest first.
	Samples []Sample
	// Backlog is how the queue was, oldest first.
	Backlog []Queue
	// Dead are new dead letters, newest first.
	Dead []queue.DeadLetter
	// Oldest is the oldest message that is being worked on.
	Oldest *Message
	// DiskFree is what the file system of the agent's directories has left, in bytes; negative if not known.
	DiskFree int64
}

// Good is a revision that ran well.
type Good struct {
	Revision int
	Spec     agent.Spec
}

// Peer is another agent.
type Peer struct {
	ID, Name string
	Exists   bool
	State    agent.State
	Health   agent.Health
	Ports    []int
	// Latency is how long its slowest probe took last; 0 if not known.
	Latency time.Duration
	// Troubled says that it has an error of its own that is not over.
	Troubled bool
}

// Down tells whether it can't serve anybody.
func (p Peer) Down() bool {
	return !p.Exists || p.State != agent.Running || p.Health == agent.HealthUnhealthy
}

// Holder is the process that listens on a port.
type Holder struct {
	PID     int
	Command string
	AgentID string // if it belongs to an agent
}

// Sample is what one instance used at one moment.
type Sample struct {
	At         time.Time
	InstanceID string
	Run        string // names one life of its process
	fleet.Usage
}

// Queue is how the agent's queue was at one moment.
type Queue struct {
	At time.Time
	queue.Stats
}

// Message is a message in a queue.
type Message struct {
	Sequence   uint64
	ID         string
	Deliveries int
	Published  time.Time
}

// serving tells whether the agent is meant to serve.
func (f *Facts) serving() bool { return f.State == agent.Running }

// texts are everything that was said about the trouble, oldest first: why a step
// failed, and what was printed.
func (f *Facts) texts() []string {
	out := make([]string, 0, len(f.Lines)+4)
	if f.Failure != nil {
		out = append(out, f.Failure.Reason)
	}
	if f.Problem != nil {
		out = append(out, f.Problem.What+": "+f.Problem.Why)
	}
	lines := f.Lines
	if f.Failure != nil && len(lines) == 0 {
		lines = f.Failure.LastLogs
	}
	for _, l := range lines {
		out = append(out, Plain(l))
	}
	return out
}

// exit gives the exit code of the last run.
func (f *Facts) exit() (int, bool) {
	switch {
	case f.Ended != nil && f.Ended.ExitCode != nil:
		return *f.Ended.ExitCode, true
	case f.Failure != nil && f.Failure.ExitCode != nil:
		return *f.Failure.ExitCode, true
	}
	return 0, false
}

// signal gives the signal that ended the last run.
func (f *Facts) signal() string {
	switch {
	case f.Ended != nil && f.Ended.Signal != "":
		return f.Ended.Signal
	case f.Failure != nil:
		return f.Failure.Signal
	}
	return ""
}

// failed tells whether a run has ended that should not have.
func (f *Facts) failed() bool {
	code, known := f.exit()
	return f.signal() != "" || known && code != 0 || f.Ended != nil || f.State == agent.Errored
}

// code is the code of the step's problem, or of the agent's failure.
func (f *Facts) code() string {
	switch {
	case f.Problem != nil && f.Problem.Code != "":
		return f.Problem.Code
	case f.Failure != nil:
		return f.Failure.Code
	}
	return ""
}
