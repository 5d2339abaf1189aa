// Package cause finds out why an agent does not do what it should. It looks at
// facts that others collected (how a run ended, what was printed last, who holds
// a port, which agents are down, how much is used of what) and gives the cause
// that the evidence speaks for, with what to do about it.
//
// It asks nobody and changes nothing, so what it says of given facts is always
// the same.
package cause

import "time"

// Class says what kind of trouble it is.
type Class string

// The classes.
const (
	Transient     Class = "transient"     // passes, or a restart ends it
	Permanent     Class = "permanent"     // comes back until the program or its data change
	Configuration Class = "configuration" // the specification, or what it refers to, is wrong
	Dependency    Class = "dependency"    // something else that the agent needs is at fault
)

// Code names a cause.
type Code string

// The causes.
const (
	PortInUse         Code = "port_in_use"
	MissingBinary     Code = "missing_binary"
	BadConfig         Code = "bad_config"
	MissingVariable   Code = "missing_variable"
	MissingDependency Code = "missing_dependency"
	CrashLoop         Code = "crash_loop"
	OutOfMemory       Code = "out_of_memory"
	Hang              Code = "hang"
	SlowDependency    Code = "slow_dependency"
	CPUStarved        Code = "cpu_starved"
	DiskFull          Code = "disk_full"
	FDLeak            Code = "fd_leak"
	QueueBacklog      Code = "queue_backlog"
	PoisonMessage     Code = "poison_message"
	ExpiredCredential Code = "expired_credential"
	ClockSkew         Code = "clock_skew"
	NetworkRefused    Code = "network_refused"
	EngineAway        Code = "engine_away"
	ImageUnavailable  Code = "image_unavailable"
	NoRoom            Code = "no_room"
	RuntimeRefuses    Code = "runtime_refuses"
	Displaced         Code = "displaced"
	Flaky             Code = "flaky"
	Unknown           Code = "unknown"
)

// classes says of which class each cause is, in the order in which causes are shown.
var classes = []struct {
	code  Code
	class Class
}{
	{PortInUse, Configuration}, {MissingBinary, Configuration}, {BadConfig, Configuration}, {MissingVariable, Configuration},
	{MissingDependency, Dependency}, {CrashLoop, Permanent}, {OutOfMemory, Permanent}, {Hang, Transient},
	{SlowDependency, Dependency}, {CPUStarved, Configuration}, {DiskFull, Permanent}, {FDLeak, Permanent},
	{QueueBacklog, Transient}, {PoisonMessage, Permanent}, {ExpiredCredential, Configuration}, {ClockSkew, Dependency},
	{NetworkRefused, Dependency}, {EngineAway, Dependency}, {ImageUnavailable, Configuration},
	{NoRoom, Dependency}, {RuntimeRefuses, Configuration}, {Displaced, Transient}, {Flaky, Transient}, {Unknown, Permanent},
}

// Codes are all causes.
func Codes() []Code {
	out := make([]Code, len(classes))
	for i, c := range classes {
		out[i] = c.code
	}
	return out
}

// ClassOf gives the class of a cause; "" for one that is none.
func ClassOf(c Code) Class {
	for _, row := range classes {
		if row.code == c {
			return row.class
		}
	}
	return ""
}

// Fix names something that can be done about a cause.
type Fix string

// The fixes.
const (
	ChangePort         Fix = "change_port"
	RaiseMemory        Fix = "raise_memory"
	RaiseCPU           Fix = "raise_cpu"
	Restart            Fix = "restart"
	RestartWithBackoff Fix = "restart_with_backoff"
	StartDependency    Fix = "start_dependency"
	SetVariable        Fix = "set_variable"
	RollBack           Fix = "roll_back"
	FreeDisk           Fix = "free_disk"
	RenewCredentials   Fix = "renew_credentials"
	ScaleOut           Fix = "scale_out"
	DeadLetterMessage  Fix = "dead_letter_message"
	CorrectCommand     Fix = "correct_command"
	RaiseLimit         Fix = "raise_limit"
	Wait               Fix = "wait"
	StopHolder         Fix = "stop_holder"
	// NoFix is what only people can do, outside of the portal.
	NoFix Fix = "none"
)

// ByItself tells whether a fix may be carried out without a person. What touches
// another agent that is well may not.
func (f Fix) ByItself() bool { return f != NoFix && f != StopHolder }

// Fixes are all fixes that are operations.
var Fixes = []Fix{
	ChangePort, RaiseMemory, RaiseCPU, Restart, RestartWithBackoff, StartDependency, SetVariable, RollBack, FreeDisk,
	RenewCredentials, ScaleOut, DeadLetterMessage, CorrectCommand, RaiseLimit, Wait, StopHolder,
}

// Evidence is one thing that speaks for a cause.
type Evidence struct {
	Kind string    `json:"kind" enum:"log,exit,probe,port,metric,step,spec,host"`
	Text string    `json:"text"`
	At   time.Time `json:"at,omitzero"`
}

// Suggestion is one thing to do, with how likely it is to help.
type Suggestion struct {
	Fix             Fix            `json:"fix"`
	Title           string         `json:"title"`
	Why             string         `json:"why"`
	ExpectedSuccess float64        `json:"expected_success" doc:"0 to 1, from experience with the cause and from what helped before"`
	Parameters      map[string]any `json:"parameters,omitempty"`
	OneClick        bool           `json:"one_click" doc:"Nothing has to be filled in"`
}

// Finding is what the evidence speaks for.
type Finding struct {
	Code  Code
	Class Class
	// Certainty is from 0 (nothing speaks for it) to 1 (it was seen itself).
	Certainty float64
	// Key tells apart what has the same cause in one agent, e.g. the port.
	Key         string
	Title       string
	Summary     string
	Evidence    []Evidence
	Suggestions []Suggestion
}
