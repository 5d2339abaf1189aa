package process

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/process/cgroup"
)

// Report implements fleet.Runtime.
func (r *Runtime) Report(context.Context) []fleet.Check {
	checks := []fleet.Check{
		r.limit("memory_limit", cgroup.Memory),
		r.limit("cpu_limit", cgroup.CPU),
		r.limit("pids_limit", cgroup.PIDs),
		r.limit("oom_detection", cgroup.Memory),
		r.fallback("freeze", cgroup.Freezer, "SIGSTOP to each process until all stand still; a program can notice it"),
		r.fallback("kill_tree", cgroup.Kill, "SIGKILL to each descendant until the supervisor has none left"),
		{Name: "nofile", OK: r.noFile >= 1024, How: fmt.Sprintf("prlimit, %d open files", r.noFile)},
		{Name: "disk_limit", OK: true, How: "measured in intervals; an instance over its limit is ended. One file cannot exceed it (prlimit)"},
		{
			Name: "read_only_volumes", Why: "a process of the portal's user can write to every directory of that user",
			Remedy: "Use a runtime with file systems of its own where this matters.",
		},
		r.adoption(),
	}
	if n := &checks[6]; !n.OK {
		n.Why, n.Remedy = "the portal's own hard limit is low", "Raise it, e.g. LimitNOFILE=65536 in the service's unit."
	}
	return checks
}

func (r *Runtime) limit(name, controller string) fleet.Check {
	if v := r.host.Version(controller); v > 0 {
		return fleet.Check{Name: name, OK: true, How: fmt.Sprintf("cgroup v%d", v)}
	}
	return fleet.Check{Name: name, Why: r.why(controller),
		Remedy: "Run the portal as root, or as a systemd service with Delegate=yes; in a container, mount /sys/fs/cgroup writable."}
}

func (r *Runtime) fallback(name, controller, how string) fleet.Check {
	if v := r.host.Version(controller); v > 0 {
		return fleet.Check{Name: name, OK: true, How: fmt.Sprintf("cgroup v%d", v)}
	}
	return fleet.Check{Name: name, OK: true, How: how, Why: r.why(controller)}
}

func (r *Runtime) why(controller string) string {
	if r.cfg.NoCgroups {
		return "control groups are switched off"
	}
	return r.host.Why[controller]
}

// adoption warns if the portal's service manager would end instances with it.
func (r *Runtime) adoption() fleet.Check {
	c := fleet.Check{Name: "adoption", OK: true, How: "a supervisor per instance in a session of its own"}
	own, _ := os.ReadFile("/proc/self/cgroup")
	if r.host.V2 == "" && strings.Contains(string(own), ".service") {
		c.OK = false
		c.Why = "the service manager ends all processes of the portal's control group when it stops the portal"
		c.Remedy = "Set KillMode=process in the portal's unit."
	}
	return c
}
