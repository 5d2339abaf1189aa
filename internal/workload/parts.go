package workload

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// volumes gives the agent a volume for each directory that is kept, or written to.
func (w *workload) volumes() {
	sources := map[string]map[string]any{}
	list, _ := take(w.pod, "volumes").([]any)
	for _, e := range list {
		v := maps.Clone(tree(e))
		sources[text(take(v, "name"))] = v
	}
	for _, e := range w.claims {
		sources[text(tree(tree(e)["metadata"])["name"])] = map[string]any{"claimTemplate": tree(e)["spec"]}
	}
	mounts, _ := take(w.container, "volumeMounts").([]any)
	var out []any
	names := map[string]bool{}
	for i, e := range mounts {
		m := tree(e)
		if v := w.volume(fmt.Sprintf("volumeMounts[%d]", i), m, sources[text(m["name"])], names); v != nil {
			out = append(out, v)
		}
	}
	if len(out) > 0 {
		w.Doc["volumes"] = out
	}
}

func (w *workload) volume(field string, mount, source map[string]any, names map[string]bool) map[string]any {
	name, at := text(mount["name"]), path.Clean("/"+text(mount["mountPath"]))
	claim := tree(source["persistentVolumeClaim"])
	_, empty := source["emptyDir"]
	template, made := source["claimTemplate"]
	switch {
	case empty && at == "/tmp":
		return nil // is there anyway
	case claim == nil && !empty && !made:
		w.Note(field, true, "a %s at %s is not given to agents: put what is in it into the image, a variable or the portal's secrets directory", brief(slices.Sorted(maps.Keys(source))), at)
		return nil
	case at == "/":
		w.Note(field, true, "needs a path of its own")
		return nil
	}
	if names[name] {
		w.Note(field, true, "shares no content with the other place of %s: every volume has one", name)
		name += "-" + strconv.Itoa(len(names)+1)
	}
	names[name] = true
	out := map[string]any{"name": name, "path": strings.TrimPrefix(at, "/")}
	switch size := text(tree(tree(tree(template)["resources"])["requests"])["storage"]); {
	case claim != nil:
		w.Note(field, false, "begins empty at %s: the claim %s stays where it is, and its content is not copied", at, text(claim["claimName"]))
	case made:
		w.Note(field, false, "begins empty at %s: the claims of the StatefulSet stay where they are, and their content is not copied", at)
		if size != "" {
			out["size"] = size
		}
	default:
		w.Note(field, false, "at %s keeps its content from one run to the next where the cluster has storage", at)
		if limit := text(tree(source["emptyDir"])["sizeLimit"]); limit != "" {
			out["size"] = limit
		}
	}
	if mount["readOnly"] == true || claim["readOnly"] == true {
		out["read_only"] = true
	}
	for _, key := range []string{"subPath", "subPathExpr", "mountPropagation", "recursiveReadOnly"} {
		if mount[key] != nil {
			w.Note(field+"."+key, true, "is not supported and left out")
		}
	}
	return out
}

func (w *workload) probes() {
	out := map[string]any{}
	for key, name := range map[string]string{"livenessProbe": "liveness", "readinessProbe": "readiness"} {
		if p := maps.Clone(tree(take(w.container, key))); p != nil {
			if probe := w.probe(key, p); probe != nil {
				out[name] = probe
			}
		}
	}
	if take(w.container, "startupProbe") != nil {
		w.Note("startupProbe", true, "is left out: an agent is given time until its readiness probe answers; liveness can wait by initial_delay")
	}
	if len(out) > 0 {
		w.Doc["probes"] = out
	}
}

// probe is nil for one that an agent can't have.
func (w *workload) probe(field string, p map[string]any) map[string]any {
	out := map[string]any{}
	http, tcp, exec := maps.Clone(tree(take(p, "httpGet"))), tree(take(p, "tcpSocket")), tree(take(p, "exec"))
	switch {
	case exec != nil:
		out["exec"] = map[string]any{"command": exec["command"]}
	case http != nil && strings.EqualFold(text(take(http, "scheme")), "HTTPS"):
		w.Note(field, true, "asks by HTTPS, and instances are asked by HTTP only; the probe is left out")
		return nil
	case http != nil:
		n := w.number(take(http, "port"))
		if n == 0 {
			w.Note(field, true, "names a port that the container does not; the probe is left out")
			return nil
		}
		get := map[string]any{"port": strconv.Itoa(n)}
		if at := text(take(http, "path")); at != "" {
			get["path"] = at
		}
		out["http"] = get
		w.Rest(field+".httpGet.", http)
	case tcp != nil && w.number(tcp["port"]) > 0:
		out["tcp"] = map[string]any{"port": strconv.Itoa(w.number(tcp["port"]))}
	default:
		w.Note(field, true, "is neither HTTP, TCP nor a command, or names a port that the container does not; the probe is left out")
		return nil
	}
	for key, name := range map[string]string{"initialDelaySeconds": "initial_delay", "periodSeconds": "interval", "timeoutSeconds": "timeout"} {
		if n := whole(take(p, key)); n > 0 {
			out[name] = (time.Duration(n) * time.Second).String()
		}
	}
	for key, name := range map[string]string{"failureThreshold": "failure_threshold", "successThreshold": "success_threshold"} {
		if n := whole(take(p, key)); n > 0 {
			out[name] = n
		}
	}
	w.Rest(field+".", p)
	return out
}

// leastCPU is how little of a processor can be bounded.
const leastCPU = 0.1

// resources takes the limits. What is asked for follows from them.
func (w *workload) resources() {
	r := maps.Clone(tree(take(w.container, "resources")))
	bounds, requests := tree(take(r, "limits")), tree(take(r, "requests"))
	limits := maps.Clone(bounds)
	out := map[string]any{}
	if cpu := text(take(limits, "cpu")); cpu != "" {
		n, err := strconv.ParseFloat(strings.TrimSuffix(cpu, "m"), 64)
		if strings.HasSuffix(cpu, "m") {
			n /= 1000
		}
		switch {
		case err != nil:
			w.Note("resources.limits.cpu", true, "is no number of processors: %s", cpu)
		case n < leastCPU:
			w.Note("resources.limits.cpu", true, "is %s, and an agent has %v at least", cpu, leastCPU)
			n = leastCPU
			fallthrough
		default:
			out["cpu"] = n
		}
	}
	if memory := text(take(limits, "memory")); memory != "" {
		out["memory"] = memory
	}
	w.Rest("resources.limits.", limits)
	for _, name := range slices.Sorted(maps.Keys(requests)) {
		if text(requests[name]) != text(bounds[name]) {
			w.Note("resources.requests."+name, true, "is left out: as much memory is asked for as the limit says, and a tenth of the processors")
		}
	}
	w.Rest("resources.", r)
	if len(out) > 0 {
		w.Doc["resources"] = out
	}
}
