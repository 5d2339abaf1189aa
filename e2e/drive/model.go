package drive

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Instance is what the API says of an instance.
type Instance struct {
	ID       string `json:"id"`
	PID      int    `json:"pid"`
	State    string `json:"state"`
	Port     int    `json:"port"`
	Restarts int    `json:"restarts"`
	Ready    *bool  `json:"ready"`
}

// Agent is what the API says of an agent.
type Agent struct {
	ID              string     `json:"id"`
	Name            string     `json:"name"`
	State           string     `json:"state"`
	Health          string     `json:"health"`
	Revision        int        `json:"revision"`
	ResourceVersion int64      `json:"resource_version"`
	ActiveOperation string     `json:"active_operation"`
	Instances       []Instance `json:"instances"`
	Failure         *struct {
		Code     string   `json:"code"`
		Reason   string   `json:"reason"`
		ExitCode *int     `json:"exit_code"`
		LastLogs []string `json:"last_logs"`
	} `json:"failure"`
}

// Operation is what the API says of an operation.
type Operation struct {
	ID      string `json:"id"`
	Kind    string `json:"kind"`
	AgentID string `json:"agent_id"`
	State   string `json:"state"`
	Problem *struct {
		What string `json:"what"`
		Why  string `json:"why"`
	} `json:"problem"`
}

// Bulk is what the API says of a bulk operation.
type Bulk struct {
	ID        string `json:"id"`
	State     string `json:"state"`
	Total     int    `json:"total"`
	Completed int    `json:"completed"`
	Succeeded int    `json:"succeeded"`
	Failed    int    `json:"failed"`
	Items     []struct {
		AgentID string          `json:"agent_id"`
		State   string          `json:"state"`
		Note    string          `json:"note"`
		Problem json.RawMessage `json:"problem"`
	} `json:"items"`
}

// Agent gets one agent.
func (p *Portal) Agent(ctx context.Context, id string) (Agent, error) {
	var a Agent
	return a, p.Call(ctx, "GET", "/agents/"+url.PathEscape(id), nil, &a)
}

// Agents lists all agents that match the query string, over all pages.
func (p *Portal) Agents(ctx context.Context, query string) ([]Agent, error) {
	var all []Agent
	cursor := ""
	for {
		var page struct {
			Items []Agent `json:"items"`
			Next  string  `json:"next_cursor"`
		}
		q := "?limit=500&" + query
		if cursor != "" {
			q += "&cursor=" + url.QueryEscape(cursor)
		}
		if err := p.Call(ctx, "GET", "/agents"+q, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next == "" {
			return all, nil
		}
		cursor = page.Next
	}
}

// Act does an action and waits for its end. What waits for an engine that does not
// answer may take several of the portal's time limits, of 30 s each.
func (p *Portal) Act(ctx context.Context, id, action string) (Operation, error) {
	var out struct {
		Operation Operation `json:"operation"`
	}
	err := p.Call(ctx, "POST", "/agents/"+id+"/"+action+"?wait=60s", map[string]any{}, &out)
	op := out.Operation
	for err == nil && (op.State == "PENDING" || op.State == "RUNNING") {
		err = p.Call(ctx, "GET", "/operations/"+op.ID+"?wait=60s", nil, &op)
	}
	return op, err
}

// RunBulk starts a bulk operation and polls it to its end.
func (p *Portal) RunBulk(ctx context.Context, request map[string]any) (Bulk, error) {
	var b Bulk
	if err := p.Call(ctx, "POST", "/bulk", request, &b); err != nil {
		return b, err
	}
	err := Poll(ctx, 20*time.Millisecond, func() (bool, error) {
		if err := p.Call(ctx, "GET", "/bulk/"+b.ID, nil, &b); err != nil {
			return false, err
		}
		return b.State == "SUCCEEDED" || b.State == "FAILED" || b.State == "CANCELLED", nil
	})
	return b, err
}

// Poll asks done every so often until it says true, fails, or ctx ends.
func Poll(ctx context.Context, every time.Duration, done func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Holdings names what the agent holds, wherever, but its output and what others may
// use as well.
func (p *Portal) Holdings(ctx context.Context, agent string) ([]string, error) {
	var acc struct {
		Stocks []struct {
			Place    string
			Holdings []struct {
				Kind, Name string
				Shared     bool
			}
		}
		Notes []string
	}
	if err := p.Call(ctx, http.MethodGet, "/agents/"+agent+"/resources", nil, &acc); err != nil {
		return nil, err
	}
	out := acc.Notes
	for _, s := range acc.Stocks {
		for _, h := range s.Holdings {
			if h.Kind != "logs" && !h.Shared {
				out = append(out, s.Place+" "+h.Kind+" "+h.Name)
			}
		}
	}
	slices.Sort(out)
	return out, nil
}
