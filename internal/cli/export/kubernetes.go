package export

import (
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
)

const (
	nobody = 65532 // the user that agents run as
	maxID  = 52    // letters of the name of a StatefulSet
)

// kubernetes gives a Service and a StatefulSet for each agent: every instance keeps a
// data directory of its own, as on the portal.
func (w *writer) kubernetes(specs []agent.Spec) ([]any, error) {
	var out []any
	for _, s := range specs {
		if len(s.ID) > maxID {
			return nil, fault.New(fault.Invalid, "export.id", "The id %s is too long for a StatefulSet", s.ID).
				Because("its pods get longer names, and have at most 63 letters in them").Do("Export the agents whose ids have at most %d letters.", maxID)
		}
		p, err := w.program(s, syntax{
			instance: "$(AGENT_INSTANCE)", secret: func(name string) string { return "$(" + name + ")" },
			literal: strings.NewReplacer("$", "$$"), data: dataDir,
		})
		if err != nil {
			return nil, err
		}
		labels := tree{"app.kubernetes.io/name": s.ID}
		out = append(out,
			tree{"apiVersion": "v1", "kind": "Service", "metadata": tree{"name": s.ID, "labels": labels},
				"spec": tree{"selector": labels, "ports": servicePorts(s)}},
			tree{"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": tree{"name": s.ID, "labels": labels},
				"spec": tree{
					"serviceName": s.ID, "replicas": replicas(s), "podManagementPolicy": "Parallel",
					"selector":             tree{"matchLabels": labels},
					"template":             tree{"metadata": tree{"labels": labels}, "spec": w.pod(s, p)},
					"volumeClaimTemplates": claims(s),
				}})
		w.omitted(s)
	}
	return out, nil
}

// omitted notes what a pod can't say.
func (w *writer) omitted(s agent.Spec) {
	if len(s.Secrets) > 0 {
		w.note("%s: make the secret %s with the keys %s before you apply this", s.ID, secretOf(s),
			strings.Join(slices.Sorted(maps.Keys(s.Secrets)), ", "))
	}
	if or(s.Resources.PIDs, agent.DefaultPIDs) != agent.DefaultPIDs || s.Resources.OpenFiles > 0 {
		w.note("%s: limits of processes and open files are left out; a cluster sets them for whole nodes", s.ID)
	}
	if p := s.Restart.Policy; p != "" && p != agent.DefaultRestartPolicy {
		w.note("%s: restart policy %s is left out; what a StatefulSet runs is always restarted", s.ID, p)
	}
}

func secretOf(s agent.Spec) string { return s.ID + "-secrets" }

func servicePorts(s agent.Spec) []tree {
	out := []tree{{"name": "http", "port": port, "targetPort": port}}
	for i, p := range s.Ports {
		if p.Port != port {
			out = append(out, tree{"name": "port-" + strconv.Itoa(i), "port": p.Port, "targetPort": p.Port})
		}
	}
	return out
}

func (w *writer) pod(s agent.Spec, p program) tree {
	// An instance's name comes first, because others may refer to it.
	env := []tree{{"name": "AGENT_INSTANCE", "valueFrom": tree{"fieldRef": tree{"fieldPath": "metadata.name"}}}}
	for _, name := range slices.Sorted(maps.Keys(s.Secrets)) {
		env = append(env, tree{"name": name, "valueFrom": tree{"secretKeyRef": tree{"name": secretOf(s), "key": name}}})
	}
	for _, name := range slices.Sorted(maps.Keys(p.env)) {
		if name != "AGENT_INSTANCE" {
			env = append(env, tree{"name": name, "value": p.env[name]})
		}
	}
	mounts := []tree{{"name": "data", "mountPath": dataDir}, {"name": "tmp", "mountPath": "/tmp"}}
	for i, v := range s.Volumes {
		mounts = append(mounts, tree{"name": volumeName(i), "mountPath": mountOf(v), "readOnly": v.ReadOnly})
	}
	c := tree{
		"name": "agent", "image": p.image, "env": env, "volumeMounts": mounts,
		"ports": []tree{{"name": "http", "containerPort": port}},
		"securityContext": tree{"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
			"capabilities": tree{"drop": []string{"ALL"}}},
	}
	set(c, "command", p.command)
	set(c, "args", p.args)
	limits := tree{}
	if s.Resources.CPU > 0 {
		limits["cpu"] = fmt.Sprintf("%dm", int(math.Ceil(s.Resources.CPU*1000)))
	}
	if s.Resources.Memory > 0 {
		limits["memory"] = strconv.FormatInt(int64(s.Resources.Memory), 10)
	}
	if len(limits) > 0 {
		c["resources"] = tree{"limits": limits}
	}
	if l := p.probes.Liveness; l != nil {
		c["livenessProbe"] = probe(l, true)
	}
	if r := p.probes.Readiness; r != nil {
		c["readinessProbe"] = probe(r, false)
	}
	return tree{
		"automountServiceAccountToken":  false,
		"enableServiceLinks":            false,
		"terminationGracePeriodSeconds": wholeSeconds(s.StopTimeout.Or(agent.DefaultStopTimeout)),
		"securityContext": tree{"runAsNonRoot": true, "runAsUser": nobody, "runAsGroup": nobody, "fsGroup": nobody,
			"seccompProfile": tree{"type": "RuntimeDefault"}},
		"containers": []tree{c},
		"volumes":    []tree{{"name": "tmp", "emptyDir": tree{}}},
	}
}

func set(t tree, key string, list []string) {
	if len(list) > 0 {
		t[key] = list
	}
}

// probe gives a probe; one of a life has to succeed once only.
func probe(p *agent.Probe, liveness bool) tree {
	t := tree{"periodSeconds": wholeSeconds(p.Interval.Or(agent.DefaultProbeInterval)), "timeoutSeconds": wholeSeconds(p.Timeout.Or(agent.DefaultProbeTimeout)),
		"initialDelaySeconds": int(time.Duration(p.InitialDelay).Round(time.Second) / time.Second),
		"failureThreshold":    or(p.FailureThreshold, agent.DefaultFailureThreshold), "successThreshold": or(p.SuccessThreshold, agent.DefaultSuccessThreshold)}
	if liveness {
		t["successThreshold"] = 1
	}
	switch {
	case p.HTTP != nil:
		n, _ := p.HTTP.Port.Number()
		t["httpGet"] = tree{"path": "/" + strings.TrimPrefix(p.HTTP.Path, "/"), "port": n}
	case p.TCP != nil:
		n, _ := p.TCP.Port.Number()
		t["tcpSocket"] = tree{"port": n}
	case p.Exec != nil:
		t["exec"] = tree{"command": p.Exec.Command}
	}
	return t
}

func or(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}

// wholeSeconds rounds up, and to one at least: nothing finer can be said.
func wholeSeconds(d time.Duration) int { return max(1, int(math.Ceil(d.Seconds()))) }

func volumeName(i int) string { return "volume-" + strconv.Itoa(i) }

func mountOf(v agent.Volume) string {
	where := v.Path
	if where == "" {
		where = v.Name
	}
	return path.Join("/", where)
}

func claims(s agent.Spec) []tree {
	of := func(name string, size agent.Quantity) tree {
		if size <= 0 {
			size = claim
		}
		return tree{"metadata": tree{"name": name}, "spec": tree{"accessModes": []string{"ReadWriteOnce"},
			"resources": tree{"requests": tree{"storage": strconv.FormatInt(int64(size), 10)}}}}
	}
	out := []tree{of("data", s.Resources.Disk)}
	for i, v := range s.Volumes {
		out = append(out, of(volumeName(i), v.Size))
	}
	return out
}
