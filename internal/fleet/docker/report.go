package docker

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/moby/moby/client"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
)

// Report implements fleet.Runtime. An engine that does not answer is the one
// check that fails then.
func (r *Runtime) Report(ctx context.Context) []fleet.Check {
	bounded, cancel := r.bounded(ctx)
	defer cancel()
	got, err := r.api().Info(bounded, client.InfoOptions{})
	if err != nil {
		c := fleet.Check{Name: "docker_engine", Down: true, Why: err.Error(), Remedy: "Start the engine, or correct " + r.setting("host") + "."}
		if f := fault.As(r.answered(context.WithoutCancel(ctx), "tell about itself", err)); f != nil {
			c.Why, c.Remedy = f.What+": "+f.Why, f.Remedy
		}
		return []fleet.Check{c}
	}
	info := got.Info
	limit := func(name string, ok bool) fleet.Check {
		c := fleet.Check{Name: name, OK: ok, How: "cgroup v" + info.CgroupVersion}
		if !ok {
			c.How, c.Why, c.Remedy = "", "the engine's kernel can't enforce it", "Enable the control group on the engine's machine."
		}
		return c
	}
	filter := fleet.Check{Name: "system_call_filter", OK: true, How: "seccomp"}
	if !slices.ContainsFunc(info.SecurityOptions, func(o string) bool { return strings.Contains(o, "seccomp") }) {
		filter = fleet.Check{Name: filter.Name, Why: "the engine was built or started without seccomp", Remedy: "Use an engine with seccomp."}
	}
	user := fleet.Check{Name: "non_root", OK: true, How: "images that say nothing run as user " + nobody}
	if r.cfg.Policy.Root {
		user = fleet.Check{Name: user.Name, Why: r.setting("allow") + " has root", Remedy: "Take it out, and give images a user."}
	}
	root := fleet.Check{Name: "read_only_root", OK: true, How: "only volumes and /tmp can be written to"}
	if r.cfg.Policy.Writable {
		root = fleet.Check{Name: root.Name, Why: r.setting("allow") + " has writable", Remedy: "Take it out, and give agents volumes."}
	}
	home := fleet.Check{Name: "portal_from_inside", OK: true, How: "as " + cmp.Or(r.cfg.PortalHost, PortalHost)}
	if r.remote() && r.cfg.PortalHost == "" {
		home = fleet.Check{
			Name: home.Name, Why: "the engine is on another machine, where a loopback address of the portal leads nowhere",
			Remedy: "Set " + r.setting("portal-host") + " to the name or the address by which that machine reaches the portal.",
		}
	}
	return []fleet.Check{
		{Name: "docker_engine", OK: true, How: "version " + info.ServerVersion + " at " + r.cfg.Host},
		limit("memory_limit", info.MemoryLimit), limit("cpu_limit", info.CPUCfsQuota), limit("pids_limit", info.PidsLimit),
		limit("oom_detection", info.MemoryLimit), limit("freeze", true),
		{Name: "kill_tree", OK: true, How: "a PID namespace for each instance"},
		{
			Name: "disk_limit", Why: "the engine's volumes have no size of their own",
			Remedy: "Watch the disk of the engine, or use the runtime process for agents that need the limit.",
		},
		{Name: "read_only_volumes", OK: true, How: "mounted so"},
		{Name: "privileges", OK: true, How: "no capabilities, no new privileges, nothing of the host"},
		filter, user, root, home,
		{Name: "adoption", OK: true, How: "by labels, owner " + r.cfg.Owner},
	}
}
