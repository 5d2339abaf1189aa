package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
)

// Difference is a field in which what an engine runs is not what was launched:
// somebody else changed it. What may be secret is not in it.
type Difference struct {
	Field  string `json:"field"` // as specifications name it where they have it, e.g. "image"
	Wanted string `json:"wanted"`
	Live   string `json:"live"`
}

// Absent is the value of a field that is not there.
const Absent = "none"

// String says it for people.
func (d Difference) String() string { return d.Field + " is " + d.Live + " instead of " + d.Wanted }

// drifted says for people what somebody else changed.
func drifted(list []Difference) string {
	texts := make([]string, len(list))
	for i, d := range list {
		texts[i] = d.String()
	}
	return "changed by somebody else: " + strings.Join(texts, "; ")
}

// Witness is a Runtime that can say what somebody else made of an instance where
// differences do not: what its probes are as a specification has them, and values,
// which may be secret and are kept nowhere. NotFound for an instance that is not there.
type Witness interface {
	// LiveProbes gives the probes that the instance has now, with ports as numbers; had
	// are those that it was launched with. What is asked just as before stays as it was
	// written. Beside are the fields, named as in differences, that no specification
	// can have, and why.
	LiveProbes(ctx context.Context, agentID, instanceID string, had agent.Probes) (now agent.Probes, unsaid map[string]string, err error)
	// LiveEnv gives the variables of which the instance has another value from its next
	// start on than what it was launched with; nil for one that it has no more.
	LiveEnv(ctx context.Context, agentID, instanceID string) (map[string]*string, error)
}

// Adoption is what becomes of what somebody else changed when it is adopted. No value
// is in it.
type Adoption struct {
	Takes  []string      `json:"takes" doc:"Fields of the specification"`
	Leaves []fault.Field `json:"leaves" doc:"What stays a difference, and why"`
}

// Warnings says for people what is left.
func (p *Adoption) Warnings() (list []string) {
	for _, f := range p.Leaves {
		list = append(list, f.Path+" is not adopted: "+f.Message)
	}
	return list
}

// AdoptDrift makes a revision of what somebody else changed in the agent's instances
// on their engine: image, command, arguments, limits, probes and variables. The
// warnings name what was changed beside it, which can't be adopted and stays a
// difference. Conflict if nothing is to adopt, if a field has become what no
// specification can have, or if instances differ from each other; Invalid, as for any
// other patch, for what a specification may not have.
func (s *Service) AdoptDrift(ctx context.Context, id string, ifMatch int64, reason string) (*agent.Agent, []string, error) {
	c, a, err := s.claimed(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	if reason == "" {
		reason = "what somebody else changed on the runtime " + runtimeName(a.Spec) + " is adopted"
	}
	a, warnings, err := s.Specs.Patch(ctx, a.ID, ifMatch, c.patch, reason)
	if err != nil {
		return nil, nil, err
	}
	return a, append(c.Warnings(), warnings...), nil
}

// PlanAdoption says what AdoptDrift would do now, and fails as it would.
func (s *Service) PlanAdoption(ctx context.Context, id string) (*Adoption, error) {
	c, _, err := s.claimed(ctx, id)
	if err != nil {
		return nil, err
	}
	c.Leaves = slices.Concat([]fault.Field{}, c.Leaves) // never null
	return &c.Adoption, nil
}

// claimed gives what is to be adopted of an agent, in which all its instances agree.
func (s *Service) claimed(ctx context.Context, id string) (*claim, *agent.Agent, error) {
	a, err := s.Agents.Get(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	seen, err := s.Observed.Instances(ctx, a.ID)
	if err != nil {
		return nil, nil, err
	}
	c := &claim{}
	for i, in := range seen[a.ID] {
		own, err := s.claim(ctx, a, in)
		if err != nil {
			return nil, nil, err
		}
		if i > 0 && !reflect.DeepEqual(c.patch, own.patch) {
			return nil, nil, fault.New(fault.Conflict, "drift.uneven", "The instances of %s were not changed alike", a.ID).
				Because("%s differs from %s", in.ID, seen[a.ID][0].ID).
				Do("Change the others as well, or restart the agent, which takes every change back.")
		}
		for _, f := range c.Leaves {
			own.leave(f.Path, f.Message)
		}
		c = own
	}
	slices.Sort(c.Takes)
	if len(c.patch) == 0 {
		f := fault.New(fault.Conflict, "drift.none", "There is nothing of %s that could be adopted", a.ID).At(c.Leaves...)
		if len(c.Leaves) == 0 {
			f.Because("nobody else changed its image, command, arguments, limits, probes or variables")
		}
		return nil, nil, f.Do("`portal agents drift %s` shows what was changed; restarting the agent takes it back.", a.ID)
	}
	return c, a, nil
}

// claim is what of one instance is to be adopted.
type claim struct {
	Adoption
	patch map[string]any // merge patch of the specification
}

// take lets the specification have a value in the field, or without one not have it.
func (c *claim) take(field string, value any) {
	in := c.patch
	if part, name, nested := strings.Cut(field, "."); nested {
		sub, ok := in[part].(map[string]any)
		if !ok {
			sub = map[string]any{}
			in[part] = sub
		}
		in, field = sub, name
		c.Takes = append(c.Takes, part+"."+name)
	} else {
		c.Takes = append(c.Takes, field)
	}
	in[field] = value
}

func (c *claim) leave(field, why string) {
	if f := (fault.Field{Path: field, Message: why}); !slices.Contains(c.Leaves, f) {
		c.Leaves = append(c.Leaves, f)
	}
}

// adopted are the fields of specifications of which differences say the value.
var adopted = []string{"image", "command", "args", "resources.memory", "resources.cpu"}

// The fields of probes, as differences name them.
const (
	FieldReadiness = "health.readiness"
	FieldLiveness  = "health.liveness"
	FieldStartup   = "startup probe" // which follows from the liveness probe
)

// claim says what of an instance is to be adopted.
func (s *Service) claim(ctx context.Context, a *agent.Agent, in Instance) (*claim, error) {
	c := &claim{patch: map[string]any{}}
	var probes, variables []string
	for _, d := range in.Drift {
		name, variable := strings.CutPrefix(d.Field, "env.")
		switch {
		case slices.Contains(adopted, d.Field):
			value, err := specified(a.ID, d.Field, d.Live)
			if err != nil {
				return nil, err
			}
			c.take(d.Field, value)
		case d.Field == FieldReadiness || d.Field == FieldLiveness || d.Field == FieldStartup:
			probes = append(probes, d.Field)
		case variable:
			variables = append(variables, name)
		default:
			c.leave(d.Field, "no specification says that; the next start or deployment takes it back")
		}
	}
	if len(probes)+len(variables) == 0 {
		return c, nil
	}
	spec, err := s.spec(ctx, a, in.Revision)
	if err != nil {
		return nil, err
	}
	w, ok := s.Runtimes[runtimeName(spec)].(Witness)
	if !ok {
		for _, d := range in.Drift {
			if strings.HasPrefix(d.Field, "env.") || slices.Contains(probes, d.Field) {
				c.leave(d.Field, "the runtime "+runtimeName(spec)+" can't say what it is now")
			}
		}
		return c, nil
	}
	if err := c.probes(ctx, w, a, spec, in, probes); err != nil {
		return nil, err
	}
	return c, c.variables(ctx, w, a, spec, in, slices.Compact(slices.Sorted(slices.Values(variables))))
}

// probes takes those that were changed.
func (c *claim) probes(ctx context.Context, w Witness, a *agent.Agent, spec agent.Spec, in Instance, changed []string) error {
	if len(changed) == 0 {
		return nil
	}
	had, err := probesFor(a, spec, "", in.Port)
	if err != nil {
		return err
	}
	now, unsaid, err := w.LiveProbes(ctx, a.ID, in.ID, had)
	if err != nil {
		return err
	}
	written := probesOf(spec)
	for _, p := range []struct {
		field, path       string
		now, had, written *agent.Probe
		changed           bool
	}{
		{FieldReadiness, "probes.readiness", now.Readiness, had.Readiness, written.Readiness, slices.Contains(changed, FieldReadiness)},
		{FieldLiveness, "probes.liveness", now.Liveness, had.Liveness, written.Liveness, slices.Contains(changed, FieldLiveness)},
	} {
		why, foreign := unsaid[p.field]
		switch {
		case p.changed && foreign:
			return foreignValue(a.ID, p.path, why)
		case p.changed, p.field == FieldLiveness && slices.Contains(changed, FieldStartup) && !reflect.DeepEqual(p.now, p.had):
			c.take(p.path, probePatch(p.now, p.had, p.written, in.Port))
		}
	}
	if why, foreign := unsaid[FieldStartup]; foreign && slices.Contains(changed, FieldStartup) {
		c.leave(FieldStartup, why)
	}
	return c.builtIn(a.ID, spec, written)
}

// builtIn keeps the probe of a built-in agent that nobody changed: it has both where its
// specification has none.
func (c *claim) builtIn(id string, spec agent.Spec, written agent.Probes) error {
	patch, _ := c.patch["probes"].(map[string]any)
	if spec.Template == "" || len(patch) == 0 || spec.Probes.Liveness != nil || spec.Probes.Readiness != nil {
		return nil
	}
	for name, p := range map[string]*agent.Probe{"readiness": written.Readiness, "liveness": written.Liveness} {
		if _, changed := patch[name]; !changed {
			patch[name] = probePatch(p, p, p, 0)
		}
	}
	if patch["readiness"] == nil && patch["liveness"] == nil {
		return foreignValue(id, "probes", "a built-in agent always has probes, and both were taken away")
	}
	return nil
}

// probePatch is the merge patch that makes any probe of a specification the one that is
// there now. The port is the instance's own, or as it was written, where it is the same.
func probePatch(now, had, written *agent.Probe, port int) any {
	if now == nil {
		return nil
	}
	p := *now
	refer := func(n agent.PortRef) agent.PortRef {
		if had != nil && written != nil && n == portOf(had) {
			return portOf(written)
		}
		if string(n) == strconv.Itoa(port) {
			return "$(PORT)"
		}
		return n
	}
	switch {
	case p.HTTP != nil:
		p.HTTP = &agent.HTTPProbe{Path: p.HTTP.Path, Port: refer(p.HTTP.Port)}
	case p.TCP != nil:
		p.TCP = &agent.TCPProbe{Port: refer(p.TCP.Port)}
	}
	patch := map[string]any{} // a merge patch keeps what it does not name
	for i, t := 0, reflect.TypeFor[agent.Probe](); i < t.NumField(); i++ {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		patch[name] = nil
	}
	maps.Copy(patch, agent.Spec{Probes: agent.Probes{Readiness: &p}}.Tree()["probes"].(map[string]any)["readiness"].(map[string]any))
	return patch
}

// portOf is the port that a probe asks; "" for one that asks none.
func portOf(p *agent.Probe) agent.PortRef {
	switch {
	case p.HTTP != nil:
		return p.HTTP.Port
	case p.TCP != nil:
		return p.TCP.Port
	}
	return ""
}

// variables takes the values that were changed, or are new, and takes out what is gone.
func (c *claim) variables(ctx context.Context, w Witness, a *agent.Agent, spec agent.Spec, in Instance, changed []string) error {
	if len(changed) == 0 {
		return nil
	}
	now, err := w.LiveEnv(ctx, a.ID, in.ID)
	if err != nil {
		return err
	}
	for _, name := range changed {
		field := "env." + name
		value, there := now[name]
		_, secret := spec.Secrets[name]
		_, secretNext := a.Spec.Secrets[name]
		_, ours := spec.Env[name]
		switch {
		case secret || secretNext:
			c.leave(field, "it is in secrets of the specification; its value belongs to where that refers")
		case agent.PortalSets(name), there && value == nil && !ours:
			c.leave(field, "the portal itself sets it")
		case !there:
			c.leave(field, "it has no effect, or is as it was again")
		case value == nil:
			c.take(field, nil)
		case !utf8.ValidString(*value): // what is stored would be another value
			return foreignValue(a.ID, field, "its value is not text in UTF-8")
		default:
			c.take(field, agent.Literal(*value))
		}
	}
	return nil
}

// specified gives the value of a field as a specification has it; nil, which takes
// it out of one, if it is not there.
func specified(id, field, text string) (value any, err error) {
	if text == Absent {
		return nil, nil
	}
	switch field {
	case "args":
		err = json.Unmarshal([]byte(text), &value)
	case "command":
		var parts []string
		if value = text; json.Unmarshal([]byte(text), &parts) == nil {
			err = errors.New("a specification has one program, and its arguments in args")
		}
	case "resources.cpu":
		value, err = strconv.ParseFloat(text, 64)
	default:
		value = text
	}
	if err != nil {
		return nil, foreignValue(id, field, "it is "+text+": "+err.Error())
	}
	return value, nil
}

// foreignValue refuses what a field has become that no specification can have.
func foreignValue(id, field, why string) error {
	return fault.New(fault.Conflict, "drift.foreign", "What somebody else made of the %s of %s can't be adopted", field, id).
		At(fault.Field{Path: field, Message: why}).Do("Change the specification by hand, or restart the agent, which takes the change back.")
}
