package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

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

// AdoptDrift makes a revision of what somebody else changed in the agent's instances
// on their engine: image, command, arguments and limits. What was changed beside it
// can't be adopted, and stays a difference. Conflict if nothing is to adopt, or
// if instances differ from each other.
func (s *Service) AdoptDrift(ctx context.Context, id string, ifMatch int64, reason string) (*agent.Agent, error) {
	a, err := s.Agents.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	seen, err := s.Observed.Instances(ctx, a.ID)
	if err != nil {
		return nil, err
	}
	changes, err := adoptable(a.ID, seen[a.ID])
	if err != nil {
		return nil, err
	}
	if reason == "" {
		reason = "what somebody else changed on the runtime " + runtimeName(a.Spec) + " is adopted"
	}
	a, _, err = s.Specs.Patch(ctx, a.ID, ifMatch, changes, reason)
	return a, err
}

// adopted are the fields that specifications have.
var adopted = []string{"image", "command", "args", "resources.memory", "resources.cpu"}

// adoptable gives the merge patch that makes a specification of what runs.
func adoptable(id string, seen []Instance) (map[string]any, error) {
	live := map[string]string{}
	for i, in := range seen {
		own := map[string]string{}
		for _, d := range in.Drift {
			if slices.Contains(adopted, d.Field) {
				own[d.Field] = d.Live
			}
		}
		if i > 0 && !maps.Equal(live, own) {
			return nil, fault.New(fault.Conflict, "drift.uneven", "The instances of %s were not changed alike", id).
				Because("%s differs from %s", in.ID, seen[0].ID).
				Do("Change the others as well, or restart the agent, which takes every change back.")
		}
		live = own
	}
	patch, limits := map[string]any{}, map[string]any{}
	for field, text := range live {
		value, err := specified(id, field, text)
		if err != nil {
			return nil, err
		}
		if name, ok := strings.CutPrefix(field, "resources."); ok {
			limits[name] = value
		} else {
			patch[field] = value
		}
	}
	if len(limits) > 0 {
		patch["resources"] = limits
	}
	if len(patch) == 0 {
		return nil, fault.New(fault.Conflict, "drift.none", "There is nothing of %s that could be adopted", id).
			Because("nobody else changed its image, command, arguments or limits").
			Do("`portal agents drift %s` shows what was changed; restarting the agent takes it back.", id)
	}
	return patch, nil
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
		return nil, fault.New(fault.Conflict, "drift.foreign", "What somebody else made of the %s of %s can't be adopted", field, id).
			Because("it is %s: %v", text, err).Do("Change the specification by hand, or restart the agent, which takes the change back.").Wrap(err)
	}
	return value, nil
}
