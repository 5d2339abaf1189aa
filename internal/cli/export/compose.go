package export

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/waooaw/platform-portal/internal/agent"
)

// compose gives one file with a service for each agent. Values of secrets are taken
// from the environment of whoever starts them, or from a file .env beside it.
func (w *writer) compose(specs []agent.Spec) ([]any, error) {
	ids := map[string]string{} // by name
	for _, s := range specs {
		ids[s.Name] = s.ID
	}
	services, volumes := tree{}, tree{}
	for _, s := range specs {
		variable := func(name string) string { return strings.ToUpper(strings.ReplaceAll(s.ID, "-", "_")) + "_" + name }
		secret := func(name string) string { return "${" + variable(name) + ":?value of a secret}" }
		f := syntax{instance: s.ID, secret: secret, literal: strings.NewReplacer("$", "$$"), data: dataDir}
		if s.Template != "" {
			f.data = "/data" // in the portal's image it belongs to the image's user
		}
		p, err := w.program(s, f)
		if err != nil {
			return nil, err
		}
		env := tree{}
		for name, value := range p.env {
			env[name] = value
		}
		for _, name := range slices.Sorted(maps.Keys(s.Secrets)) {
			env[name] = secret(name)
			w.note("%s: set %s in the environment or in a file .env", s.ID, variable(name))
		}
		data := named(s.ID, "data")
		volumes[data] = tree{}
		mounts := []string{data + ":" + f.data}
		for _, v := range s.Volumes {
			name := named(s.ID, v.Name)
			volumes[name] = tree{}
			mode := ""
			if v.ReadOnly {
				mode = ":ro"
			}
			mounts = append(mounts, name+":"+mountOf(v)+mode)
		}
		services[s.ID] = w.service(s, p, env, mounts, needed(s, ids))
	}
	return []any{tree{"services": services, "volumes": volumes}}, nil
}

// needed are those of the agents that this one depends on and that are written too.
func needed(s agent.Spec, ids map[string]string) []string {
	var out []string
	for _, name := range s.Dependencies {
		if id, ok := ids[name]; ok {
			out = append(out, id)
		}
	}
	return out
}

func (w *writer) service(s agent.Spec, p program, env tree, mounts, needs []string) tree {
	t := tree{
		"image": p.image, "environment": env, "volumes": mounts, "restart": restart(s),
		"read_only": true, "cap_drop": []string{"ALL"}, "security_opt": []string{"no-new-privileges:true"}, "tmpfs": []string{"/tmp"},
		"stop_grace_period": fmt.Sprintf("%ds", wholeSeconds(s.StopTimeout.Or(agent.DefaultStopTimeout))),
		"pids_limit":        or(s.Resources.PIDs, agent.DefaultPIDs),
	}
	set(t, "entrypoint", p.command)
	set(t, "command", p.args)
	set(t, "depends_on", needs)
	exposed := []string{strconv.Itoa(port)}
	for _, q := range s.Ports {
		exposed = append(exposed, strconv.Itoa(q.Port))
	}
	t["expose"] = exposed
	if s.Resources.Memory > 0 {
		t["mem_limit"] = int64(s.Resources.Memory)
	}
	if s.Resources.CPU > 0 {
		t["cpus"] = s.Resources.CPU
	}
	if n := s.Resources.OpenFiles; n > 0 {
		t["ulimits"] = tree{"nofile": n}
	}
	if n := replicas(s); n > 1 {
		t["deploy"] = tree{"replicas": n}
		w.note("%s: its %d instances share one data directory, and one name", s.ID, n)
	}
	w.check(s, p, t)
	return t
}

// check makes a health check of the liveness probe. Only a command can be one.
func (w *writer) check(s agent.Spec, p program, t tree) {
	l := p.probes.Liveness
	if l == nil || l.Exec == nil {
		if l != nil || p.probes.Readiness != nil {
			w.note("probes over HTTP and TCP are left out; Compose runs commands in the container only")
		}
		if s.Template != "" {
			t["healthcheck"] = tree{"disable": true} // the image's own asks a portal
		}
		return
	}
	command := []string{"CMD"}
	for _, word := range l.Exec.Command {
		command = append(command, strings.ReplaceAll(word, "$", "$$"))
	}
	t["healthcheck"] = tree{"test": command, "retries": or(l.FailureThreshold, agent.DefaultFailureThreshold),
		"interval": fmt.Sprintf("%ds", wholeSeconds(l.Interval.Or(agent.DefaultProbeInterval))),
		"timeout":  fmt.Sprintf("%ds", wholeSeconds(l.Timeout.Or(agent.DefaultProbeTimeout)))}
}

func restart(s agent.Spec) string {
	switch s.Restart.Policy {
	case "never":
		return "no"
	case "on-failure":
		return fmt.Sprintf("on-failure:%d", or(s.Restart.MaxRestarts, agent.DefaultMaxRestarts))
	}
	return "unless-stopped"
}
