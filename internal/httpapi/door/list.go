package door

import (
	"context"
	"slices"
	"strings"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
)

// Paging is what every list takes.
type Paging struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"How many at most"`
	Cursor string `query:"cursor" maxLength:"1000" doc:"next_cursor of the page before"`
}

// List is what every list gives.
type List[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next_cursor,omitempty" doc:"Cursor of the next page; absent on the last"`
	Total *int   `json:"total,omitempty" doc:"How many there are on all pages"`
	// Filtered are the agents the list is about.
	Filtered []string `json:"filtered_by_agent,omitempty" doc:"The agents that were asked for"`
}

// ListOf makes a page of a list; next is the cursor of the page after it.
func ListOf[T any](items []T, next string) List[T] {
	if items == nil {
		items = []T{}
	}
	return List[T]{Items: items, Next: next}
}

// ListAnswer is the answer of handlers of lists.
type ListAnswer[T any] struct{ Body List[T] }

// ByID is what most routes of one thing take.
type ByID struct {
	ID string `path:"id" maxLength:"200"`
}

// OfAgents is what every observability route takes.
type OfAgents struct {
	Agent []string `query:"agent,explode" doc:"Only what concerns these agents; id or name, in any case"`
}

// IDOf gives the id of the agent that is named by id or name.
func (d *Door) IDOf(ctx context.Context, idOrName string) (string, error) {
	a, err := d.cfg.Agents.Get(ctx, idOrName)
	if err != nil {
		return "", err
	}
	return a.ID, nil
}

// AgentIDs gives the ids of the agents that ?agent= names by id or name, in
// any case. One that is not there (any more) is taken as an id.
func (d *Door) AgentIDs(ctx context.Context, named []string) ([]string, error) {
	names := Split(named)
	if len(names) == 0 {
		return nil, nil
	}
	if len(names) > 100 {
		return nil, Invalid("query.agent", "names more than 100 agents")
	}
	page, err := d.cfg.Agents.Find(ctx, agent.Query{IDs: names, Limit: 1000})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names {
		i := slices.IndexFunc(page.Agents, func(a *agent.Agent) bool {
			return strings.EqualFold(a.ID, name) || strings.EqualFold(a.Spec.Name, name)
		})
		id := strings.ToLower(name)
		if i >= 0 {
			id = page.Agents[i].ID
		}
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out, nil
}

// Split reads repeated values and values separated by commas.
func Split(values []string) []string {
	var out []string
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			if part = strings.TrimSpace(part); part != "" {
				out = append(out, part)
			}
		}
	}
	return out
}

// Invalid is the fault for input that is wrong in one place.
func Invalid(path, message string) *fault.Error {
	return fault.New(fault.Invalid, "request.invalid", "The request is not valid").
		Do("Correct what is listed under errors.").At(fault.Field{Path: path, Message: message})
}
