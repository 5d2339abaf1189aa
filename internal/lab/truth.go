package lab

import "slices"

// Fault is one thing that the lab lets go wrong, and what is right to say of it.
// The truth is the lab's own: it says what was done to the agent, and is not
// taken from the detectors that it judges.
type Fault struct {
	Name  string `json:"name"` // also the cause that is right
	Class string `json:"class"`
	Does  string `json:"does"` // what the lab does
	Why   string `json:"why"`  // why the class is right
	// Needs is what the portal's machine has to be able to enforce, as its health
	// report names it; "" for nothing.
	Needs string `json:"needs,omitempty"`
	set   func(*scene) error
}

// The classes.
const (
	transient     = "transient"
	permanent     = "permanent"
	configuration = "configuration"
	dependency    = "dependency"
)

// Faults are all faults of the lab.
var Faults = []Fault{
	{"port_in_use", configuration, "holds the agent's port and starts it again",
		"two settings name one port; another number ends it", "", portInUse},
	{"missing_binary", configuration, "deploys a revision whose program does not exist or can't be run",
		"the specification names what is not there", "", missingBinary},
	{"bad_config", configuration, "deploys a revision with settings that the program refuses",
		"the program is fine, a value is wrong", "", badConfig},
	{"missing_variable", configuration, "deploys a revision without a variable that the program needs",
		"the program is fine, the specification lacks a value", "", missingVariable},
	{"missing_dependency", dependency, "stops the agent that this one depends on",
		"the agent and its specification are fine; what they name as needed does not run", "", missingDependency},
	{"crash_loop", permanent, "deploys a revision of the program that dies soon after each start",
		"the same program will die again however often it is started", "", crashLoop},
	{"out_of_memory", permanent, "lets the agent's data outgrow its memory limit, so that the kernel kills it",
		"the need stays; a restart meets the same end", "memory_limit", outOfMemory},
	{"hang", transient, "stops the process, so that it neither answers nor ends",
		"it happened once; a fresh process works", "", hang},
	{"slow_dependency", dependency, "lets the service that the agent calls answer later than the agent waits",
		"the agent is fine; what it calls is not", "", slowDependency},
	{"cpu_starved", configuration, "gives the agent somewhat more work than its CPU limit allows",
		"the program is fine, the limit does not fit the load", "cpu_limit", cpuStarved},
	{"disk_full", permanent, "lets the agent write more than its disk limit allows",
		"what was written stays; a restart finds the disk as full", "", diskFull},
	{"fd_leak", permanent, "lets the agent open files and never close them, up to its limit",
		"the program leaks; a restart only puts it off", "", fdLeak},
	{"queue_backlog", transient, "sends many more tasks than the agent can do in time",
		"load passes, or more instances carry it", "", queueBacklog},
	{"poison_message", permanent, "sends a message that the program can't survive or can't read",
		"the message fails each time that it is delivered", "", poisonMessage},
	{"expired_credential", configuration, "lets the called service refuse the agent's credential as expired",
		"a value that the agent was given is not valid any more; a new one is", "", expiredCredential},
	{"clock_skew", dependency, "lets the called service's clock differ from the agent's by minutes",
		"clocks belong to the hosts, which the agent can't set", "", clockSkew},
	{"network_refused", dependency, "closes the port of a service that the agent calls and that is no agent",
		"what the agent calls does not listen", "", networkRefused},
	{"flaky", transient, "lets the agent be ready and not ready at random",
		"it comes and goes by itself", "", flaky},
}

// Healthy is the name of the controls: agents that nothing is wrong with.
const Healthy = "healthy"

// None is what was found where nothing was.
const None = "none"

// Find gives the fault with the name.
func Find(name string) (Fault, bool) {
	i := slices.IndexFunc(Faults, func(f Fault) bool { return f.Name == name })
	if i < 0 {
		return Fault{}, false
	}
	return Faults[i], true
}
