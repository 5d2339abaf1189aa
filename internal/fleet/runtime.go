// Package fleet brings agents to the state that is wanted of them: it defines
// what a runtime must be able to do, the actions on agents as durable
// operations, and the reconciler that keeps watch between actions.
package fleet

import (
	"context"
	"io"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
)

// InstanceState is where one instance is.
type InstanceState string

// The states of an instance.
const (
	InstanceStarting  InstanceState = "starting"  // launched, no proof of readiness yet
	InstanceRunning   InstanceState = "running"   // its process runs
	InstanceBackoff   InstanceState = "backoff"   // it ended and will be started again
	InstanceSuspended InstanceState = "suspended" // frozen, or scaled to nothing
	InstanceStopping  InstanceState = "stopping"  // told to end
	InstanceExited    InstanceState = "exited"    // ended, as its restart policy allows
	InstanceFailed    InstanceState = "failed"    // restarts used up, or could not be started
	InstanceLost      InstanceState = "lost"      // its supervisor is gone
)

// Instance is one running copy of a revision, as observed.
type Instance struct {
	ID        string        `json:"id"` // InstanceID(agent, revision, index)
	AgentID   string        `json:"agent_id"`
	Revision  int           `json:"revision"`
	Index     int           `json:"index"` // 0 … replicas-1
	State     InstanceState `json:"state"`
	PID       int           `json:"pid,omitempty"`
	Host      string        `json:"host,omitempty"` // where Port is; "" means this machine
	Port      int           `json:"port,omitempty"`
	Restarts  int           `json:"restarts"` // since it was launched
	StartedAt time.Time     `json:"started_at,omitzero"`
	EndedAt   time.Time     `json:"ended_at,omitzero"`
	ExitCode  *int          `json:"exit_code,omitempty"`
	Signal    string        `json:"signal,omitempty"`
	OOMKilled bool          `json:"oom_killed,omitempty"`
	Reason    string        `json:"reason,omitempty"` // why it is in this state
	LastLogs  []string      `json:"last_logs,omitempty"`
	// Displaced says that its last run was ended from outside, by the cluster or by
	// somebody, and not by its program.
	Displaced bool   `json:"displaced,omitempty" doc:"Its last run was ended from outside, by the cluster or by somebody, and not by its program"`
	Remedy    string `json:"-"` // what can be done about the reason, where the runtime knows
	// Drift is what somebody else changed since it was launched.
	Drift []Difference `json:"drift,omitempty"`
	// Guarded says that its runtime starts it again by itself when its liveness probe
	// fails.
	Guarded bool `json:"-"`
	// Live and Ready are what the probes say; nil without an answer yet.
	Live  *bool `json:"live,omitempty"`
	Ready *bool `json:"ready,omitempty"`
}

// Launch is all that a runtime needs to run one instance.
type Launch struct {
	InstanceID string
	AgentID    string
	Revision   int
	Index      int
	Port       int               // the instance's PORT; allocated before
	Command    string            // expanded
	Args       []string          // expanded
	Image      string            // for runtimes that run images
	Env        map[string]string // the whole environment: contract, spec and resolved secrets
	// Open names the variables of Env that may be kept where many can read them: what
	// the portal itself says, but for the credential. The others may be secrets.
	Open      []string
	Health    agent.Probes // with ports as numbers and no hosts, for runtimes that can ask by themselves
	Resources agent.Resources
	Volumes   []agent.Volume
	Ports     []agent.Port // fixed ones, for runtimes that publish them
	Restart   agent.RestartPolicy
	Grace     time.Duration // between SIGTERM and SIGKILL
}

// Check is one thing a runtime can or cannot enforce here.
type Check struct {
	Name   string `json:"name"` // e.g. "memory_limit"
	OK     bool   `json:"ok"`
	How    string `json:"how,omitempty"`    // e.g. "cgroup v1"
	Why    string `json:"why,omitempty"`    // why not
	Remedy string `json:"remedy,omitempty"` // how to make it so
	// Down says that without it nothing runs here at all.
	Down bool `json:"down,omitempty"`
}

// Runtime runs instances. All methods are idempotent and safe for concurrent
// use on different agents. Instances outlive the portal. Errors are faults:
// Invalid if the spec cannot run here (command missing, not executable),
// Conflict if a port is taken, Unavailable if the engine does not answer,
// NotFound for an instance that is not there.
type Runtime interface {
	// Name is what specs call it, e.g. "process".
	Name() string
	// Report says what can be enforced here.
	Report(ctx context.Context) []Check
	// Prepare puts a revision on the runtime without running it: directories,
	// volumes, command or image found and usable.
	Prepare(ctx context.Context, l Launch) error
	// Launch starts the instance and returns once its process runs, or with the
	// reason why it does not. If it already runs (or backs off) it is left alone.
	Launch(ctx context.Context, l Launch) error
	// Stop ends the instance and every process it made: SIGTERM, grace, SIGKILL;
	// then nothing of the instance is left but its logs. No error if it is gone.
	Stop(ctx context.Context, agentID, instanceID string, grace time.Duration) error
	// Observe gives every instance that is on the runtime, also those that no
	// agent wants any more. agentID "" means all agents.
	Observe(ctx context.Context, agentID string) ([]Instance, error)
	// Remove deletes all that the agent has on the runtime: instances, directories,
	// volumes, logs.
	Remove(ctx context.Context, agentID string) error
}

// Suspender is a Runtime that can freeze an instance, with its memory kept unless it
// says otherwise as a Forgetful.
type Suspender interface {
	Suspend(ctx context.Context, agentID, instanceID string) error
	Resume(ctx context.Context, agentID, instanceID string) error
}

// Forgetful is a Suspender that may end what it suspends. If Forgets is true, an
// instance has lost its memory when it is resumed, and begins anew.
type Forgetful interface {
	Forgets() bool
}

// Restarter is a Runtime that can kill and start an instance in place; it counts
// towards the restart limit.
type Restarter interface {
	Restart(ctx context.Context, agentID, instanceID, reason string) error
}

// Execer is a Runtime that can run a command inside an instance.
type Execer interface {
	// Exec gives the exit code and up to 4 KiB of output. It ends the command at
	// the context's deadline.
	Exec(ctx context.Context, agentID, instanceID string, command []string) (code int, output string, err error)
}

// Notifier is a Runtime that tells when something changed, so that the
// reconciler need not wait for its timer. A value is the id of an agent.
type Notifier interface {
	Changes() <-chan string
}

// Distant is a Runtime whose instances have addresses of their own: what listens
// on this machine does not take ports from them.
type Distant interface {
	Distant() bool
}

// Delayed is a Runtime that learns of the end of an instance only some time later:
// one that has no probes counts as started when it has run for that much longer.
type Delayed interface {
	Delay() time.Duration
}

// Withdrawer is a Runtime that can take back what was prepared for an agent and keep
// what was printed meanwhile, as it says why that failed. Remove takes all.
type Withdrawer interface {
	Withdraw(ctx context.Context, agentID string) error
}

// DataVolume names the data directory of an agent among its volumes.
const DataVolume = ""

// Carrier is a Runtime to and from which the content of an agent's volumes can be
// carried, while nothing of the agent runs. A volume is named as the launch has it.
type Carrier interface {
	// Carries refuses with a fault where nothing can be carried here. apart says that
	// each instance has volumes of its own.
	Carries(ctx context.Context) (apart bool, err error)
	// PackVolume writes an archive of what a volume holds.
	PackVolume(ctx context.Context, l Launch, volume string, w io.Writer) error
	// UnpackVolume empties a volume that was prepared, and puts the content of an
	// archive of package cargo there, of which the files have so many bytes. Cut off, it
	// leaves a part. Unavailable if there is no room.
	UnpackVolume(ctx context.Context, l Launch, volume string, bytes int64, r io.Reader) error
}

// LogLine is one line of an instance's output.
type LogLine struct {
	At       time.Time `json:"at"`
	AgentID  string    `json:"agent_id"`
	Instance string    `json:"instance"`
	Stream   string    `json:"stream"` // stdout, stderr or portal (the supervisor's own notes)
	Text     string    `json:"text"`
	Cursor   string    `json:"cursor"` // to go on after this line
}

// LogQuery selects lines of one agent.
type LogQuery struct {
	AgentID  string
	Instance string    // "" means all
	Since    time.Time // zero: from the oldest kept
	Tail     int       // only the last n lines; 0: no restriction
	After    string    // cursor of the last line that was seen
	Follow   bool      // go on with new lines until ctx ends
	Limit    int       // stop after n lines; 0: no limit
}

// LogReader is a Runtime whose instances' output can be read.
type LogReader interface {
	// ReadLogs calls fn for each line in order of time (merged over instances),
	// until there is no more, fn fails, or ctx ends while following.
	ReadLogs(ctx context.Context, q LogQuery, fn func(LogLine) error) error
}

// Usage is what an instance uses now.
type Usage struct {
	CPUSeconds float64 `json:"cpu_seconds"` // since it was launched
	Memory     int64   `json:"memory"`      // bytes
	PIDs       int     `json:"pids"`
	Disk       int64   `json:"disk"` // bytes of the agent's directories
	// OpenFiles is what the process with the most has open of the FileLimit that
	// it may; 0 where that is not known.
	OpenFiles int `json:"open_files,omitempty"`
	FileLimit int `json:"file_limit,omitempty"`
	// ThrottledSeconds is how long its limit has kept it from the processor since
	// it was launched, as wall-clock time.
	ThrottledSeconds float64 `json:"throttled_seconds,omitempty"`
	MemoryLimit      int64   `json:"memory_limit,omitempty"` // bytes; 0 means none
}

// Meter is a Runtime that can measure an instance.
type Meter interface {
	Usage(ctx context.Context, agentID, instanceID string) (Usage, error)
}

// InstanceStore keeps what was last observed, and the ports.
type InstanceStore interface {
	// PutInstances replaces all instances of the agent.
	PutInstances(ctx context.Context, agentID string, list []Instance) error
	// Instances gives those of the agents, by agent; all agents if none is named.
	Instances(ctx context.Context, agentIDs ...string) (map[string][]Instance, error)
	// ReservePort gives the agent's instance index its port: the one it has, or a
	// free one of the range for which usable answers true. Two callers never get
	// the same port. Unavailable if the range is used up.
	ReservePort(ctx context.Context, agentID string, index, from, to int, usable func(port int) bool) (int, error)
	// ReleasePort gives back one reservation, so that the next ReservePort picks anew.
	ReleasePort(ctx context.Context, agentID string, index int) error
	// ReleasePorts gives back all of the agent's.
	ReleasePorts(ctx context.Context, agentID string) error
	// Ports lists all reservations: port to agent id.
	Ports(ctx context.Context) (map[int]string, error)
}
