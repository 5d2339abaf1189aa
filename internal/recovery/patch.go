package recovery

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/recovery/cause"
)

// planning is what a patch is made from.
type planning struct {
	s     *Service
	ctx   context.Context
	a     *agent.Agent
	in    *Incident
	given map[string]any
	p     *plan
}

// patches make the change of the specification that is a fix.
var patches = map[cause.Fix]func(p *planning) error{
	cause.ChangePort: (*planning).changePort, cause.RaiseMemory: (*planning).raiseMemory, cause.RaiseCPU: (*planning).raiseCPU,
	cause.RestartWithBackoff: (*planning).slower, cause.SetVariable: (*planning).setVariable, cause.RollBack: (*planning).rollBack,
	cause.ScaleOut: (*planning).scaleOut, cause.CorrectCommand: (*planning).correctCommand, cause.RaiseLimit: (*planning).raiseLimit,
}

func wrong(name, message string) error {
	return fault.New(fault.Invalid, "error.bad_parameter", "The fix needs other parameters").
		At(fault.Field{Path: "parameters." + name, Message: message}).Do("Give what is listed under errors.")
}

// changePort replaces a port wherever the specification names it.
func (p *planning) changePort() error {
	from, ok := whole(p.given, "from")
	if !ok {
		return wrong("from", "must be the port that is taken")
	}
	to, ok := whole(p.given, "to")
	if !ok && p.s.Machine != nil {
		to = p.s.Machine.FreePort(from)
	} else if ok && p.s.Machine != nil {
		if _, command, id, taken := p.s.Machine.HolderOf(to); taken && id != p.a.ID {
			if !p.suggested("to", to) {
				return wrong("to", "is in use by "+cmp.Or(id, command, "another process"))
			}
			to = p.s.Machine.FreePort(to) // it was free when it was suggested
		}
	}
	if to < 1 || to > 65535 || to == from {
		return wrong("to", "must be another port from 1 to 65535")
	}
	p.given["to"] = to
	p.p.Title = fmt.Sprintf("Use port %d in place of %d", to, from)
	before := p.a.Spec.Tree()
	after, _ := replacePort(p.a.Spec.Tree(), strconv.Itoa(from), strconv.Itoa(to)).(map[string]any)
	for _, kept := range []string{"id", "name", "resources", "replicas", "labels", "extra", "version", "description"} {
		if v, ok := before[kept]; ok {
			after[kept] = v
		}
	}
	p.p.Patch = agent.PatchBetween(before, after)
	if len(p.p.Patch) == 0 {
		return wrong("from", "is not a port that the specification names")
	}
	return nil
}

// suggested tells whether the number is what a suggestion fills in.
func (p *planning) suggested(name string, n int) bool {
	return slices.ContainsFunc(p.in.Suggestions, func(sg cause.Suggestion) bool {
		m, ok := whole(sg.Parameters, name)
		return ok && m == n
	})
}

// replacePort gives the tree with the number replaced where it stands by itself.
func replacePort(v any, from, to string) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = replacePort(e, from, to)
		}
		return out
	case []any:
		out := []any{}
		for _, e := range v {
			out = append(out, replacePort(e, from, to))
		}
		return out
	case string:
		return regexp.MustCompile(`(^|[^0-9.])`+from+`($|[^0-9.])`).ReplaceAllString(v, "${1}"+to+"${2}")
	case int64:
		if strconv.FormatInt(v, 10) == from {
			n, _ := strconv.ParseInt(to, 10, 64)
			return n
		}
	}
	return v
}

func (p *planning) raiseMemory() error {
	q, err := agent.ParseQuantity(text(p.given, "memory"))
	if err != nil || q <= p.a.Spec.Resources.Memory {
		return wrong("memory", "must be a size above "+p.a.Spec.Resources.Memory.String()+", such as 512Mi")
	}
	p.p.Patch = map[string]any{"resources": map[string]any{"memory": q.String()}}
	return nil
}

func (p *planning) raiseCPU() error {
	c, ok := p.given["cpu"].(float64)
	if n, is := whole(p.given, "cpu"); is {
		c, ok = float64(n), true
	}
	if !ok || c <= p.a.Spec.Resources.CPU || c > 64 {
		return wrong("cpu", fmt.Sprintf("must be a number of cores above %g, at most 64", p.a.Spec.Resources.CPU))
	}
	p.p.Patch = map[string]any{"resources": map[string]any{"cpu": c}}
	return nil
}

// slower gives the agent more tries with longer pauses between them.
func (p *planning) slower() error {
	r := p.a.Spec.WithDefaults().Restart
	first := max(2*time.Duration(r.Backoff.Initial), time.Second)
	p.p.Patch = map[string]any{"restart": map[string]any{
		"policy": "always", "max_restarts": int64(min(1000, max(10, 2*r.MaxRestarts))),
		"backoff": map[string]any{"initial": first.String(), "max": max(time.Duration(r.Backoff.Max), first).String()},
	}}
	p.p.Watch = agent.Duration(watchLong)
	return nil
}

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (p *planning) setVariable() error {
	name := text(p.given, "name")
	if !variable.MatchString(name) {
		return wrong("name", "must be the name of a variable")
	}
	value, ok := p.given["value"].(string)
	if n, has := whole(p.given, "from_revision"); has && (!ok || value == "") {
		r, err := p.s.History.Revision(p.ctx, p.a.ID, n)
		if err != nil {
			return err
		}
		if value, ok = r.Spec.Env[name]; !ok {
			return wrong("from_revision", "is a revision that does not set "+name)
		}
		p.given["from_revision"] = n
		delete(p.given, "value")
	} else if !ok || value == "" {
		return wrong("value", "must be the value of "+name)
	} else {
		p.given["value"] = "(not recorded)"
	}
	p.p.Patch = map[string]any{"env": map[string]any{name: value}}
	return nil
}

// rollBack makes the specification what it was in an earlier revision, as far as
// instances see it.
func (p *planning) rollBack() error {
	n, ok := whole(p.given, "revision")
	if !ok {
		return wrong("revision", "must be the number of a revision that ran well")
	}
	r, err := p.s.History.Revision(p.ctx, p.a.ID, n)
	if err != nil {
		return err
	}
	now, then := p.a.Spec.WithDefaults(), r.Spec.WithDefaults()
	all := agent.PatchBetween(now.Tree(), then.Tree())
	reach := agent.ForInstances(agent.Diff(now, then))
	for field := range maps.Keys(all) {
		if !slices.ContainsFunc(reach, func(c agent.FieldChange) bool { return top(c.Path) == field }) || field == "name" || field == "id" {
			delete(all, field)
		}
	}
	if len(all) == 0 {
		return wrong("revision", "is not different from what runs")
	}
	p.given["revision"] = n
	p.p.Patch, p.p.Title = all, fmt.Sprintf("Go back to revision %d", n)
	return nil
}

func top(path string) string { return path[:cmp.Or(strings.IndexAny(path+".", ".["), len(path))] }

func (p *planning) scaleOut() error {
	n, ok := whole(p.given, "replicas")
	if !ok || n <= max(1, p.a.Spec.Replicas) || n > 100 {
		return wrong("replicas", fmt.Sprintf("must be a number above %d, at most 100", max(1, p.a.Spec.Replicas)))
	}
	p.p.Patch = map[string]any{"replicas": int64(n)}
	return nil
}

func (p *planning) correctCommand() error {
	command := strings.TrimSpace(text(p.given, "command"))
	if command == "" || command == p.a.Spec.Command {
		return wrong("command", "must be another program")
	}
	if p.s.Machine != nil && (p.a.Spec.Runtime == "" || p.a.Spec.Runtime == agent.DefaultRuntime) {
		if there, _ := p.s.Machine.FindCommand(p.a.ID, command, p.a.Spec.Env["PATH"]); !there {
			return wrong("command", "is not there, or can't be run")
		}
	}
	p.p.Patch = map[string]any{"command": command}
	return nil
}

func (p *planning) raiseLimit() error {
	n, ok := whole(p.given, "open_files")
	if !ok || n < 16 || n > 1<<20 {
		return wrong("open_files", "must be 16 to 1048576")
	}
	p.p.Patch = map[string]any{"resources": map[string]any{"open_files": int64(n)}}
	return nil
}

// patched gives a specification with a merge patch applied; Invalid.
func patched(spec agent.Spec, patch map[string]any) (agent.Spec, error) {
	tree := spec.Tree()
	merge(tree, patch)
	out, _, err := agent.Decode(tree, agent.Strict)
	return out.WithDefaults(), err
}

// merge applies an RFC 7396 merge patch.
func merge(tree, patch map[string]any) {
	for k, v := range patch {
		sub, isMap := v.(map[string]any)
		into, ok := tree[k].(map[string]any)
		switch {
		case v == nil:
			delete(tree, k)
		case isMap && ok:
			merge(into, sub)
		case isMap:
			into = map[string]any{}
			merge(into, sub)
			tree[k] = into
		default:
			tree[k] = v
		}
	}
}

func text(m map[string]any, name string) string {
	s, _ := m[name].(string)
	return s
}

// whole gives a parameter that is a whole number, however it was written.
func whole(m map[string]any, name string) (int, bool) {
	switch v := m[name].(type) {
	case int:
		return v, true
	case int64:
		return int(v), true
	case uint64:
		return int(min(v, math.MaxInt32)), true
	case float64:
		return int(v), v == math.Trunc(v) && math.Abs(v) < 1<<53
	case json.Number:
		n, err := v.Int64()
		return int(n), err == nil
	case string:
		n, err := strconv.Atoi(v)
		return n, err == nil
	}
	return 0, false
}
