package crash

import (
	"context"
	"fmt"
	"net/url"
	"slices"

	"github.com/waooaw/platform-portal/e2e/drive"
)

type transition struct {
	State    string         `json:"state"`
	Previous string         `json:"previous_state"`
	Metadata map[string]any `json:"metadata"`
}

// verifyRecord checks the history of every agent against its operations, and
// the audit chain.
func (tr trial) verifyRecord(ctx context.Context) error {
	agents, err := tr.Portal.Agents(ctx, "")
	if err != nil {
		return err
	}
	for _, a := range agents {
		if err := tr.verifyHistory(ctx, a); err != nil {
			return fmt.Errorf("%s: %w", a.ID, err)
		}
	}
	for id, agent := range tr.Accepted {
		var op drive.Operation
		if err := tr.Portal.Call(ctx, "GET", "/operations/"+id, nil, &op); err != nil {
			return fmt.Errorf("an accepted operation on %s is lost: %w", agent, err)
		}
		if op.State != "SUCCEEDED" && op.State != "FAILED" && op.State != "CANCELLED" {
			return fmt.Errorf("operation %s (%s on %s) did not end: %s", id, op.Kind, agent, op.State)
		}
	}
	if out, err := tr.Portal.Run(ctx, "audit", "verify", "--data", tr.Portal.Data); err != nil {
		return fmt.Errorf("audit chain: %w\n%s", err, out)
	}
	return nil
}

// verifyHistory checks that transitions follow on each other without a gap and
// that each operation that succeeded made exactly one.
func (tr trial) verifyHistory(ctx context.Context, a drive.Agent) error {
	list, err := all[transition](ctx, tr.Portal, "/agents/"+a.ID+"/history")
	if err != nil {
		return err
	}
	slices.Reverse(list) // oldest first
	state, made := "DRAFT", map[string]int{}
	for i, h := range list {
		if i == 0 && h.Previous == "" {
			state = h.State
			continue
		}
		if h.Previous != state {
			return fmt.Errorf("transition %d goes from %s to %s, but the agent was %s", i, h.Previous, h.State, state)
		}
		state = h.State
		if op, ok := h.Metadata["operation"].(string); ok {
			made[op]++
		}
	}
	if state != a.State {
		return fmt.Errorf("the history ends with %s, the agent is %s", state, a.State)
	}
	ops, err := all[drive.Operation](ctx, tr.Portal, "/operations?agent="+url.QueryEscape(a.ID))
	if err != nil {
		return err
	}
	for _, op := range ops {
		want := 0
		if op.State == "SUCCEEDED" {
			want = 1
		}
		if made[op.ID] != want && op.State != "FAILED" {
			return fmt.Errorf("operation %s (%s, %s) made %d transitions, want %d", op.ID, op.Kind, op.State, made[op.ID], want)
		}
	}
	return nil
}

// all reads every page of a list.
func all[T any](ctx context.Context, p *drive.Portal, path string) ([]T, error) {
	sep := "?"
	if u, err := url.Parse(path); err == nil && u.RawQuery != "" {
		sep = "&"
	}
	var out []T
	cursor := ""
	for {
		var page struct {
			Items []T    `json:"items"`
			Next  string `json:"next_cursor"`
		}
		if err := p.Call(ctx, "GET", path+sep+"limit=1000&cursor="+url.QueryEscape(cursor), nil, &page); err != nil {
			return nil, err
		}
		out = append(out, page.Items...)
		if page.Next == "" {
			return out, nil
		}
		cursor = page.Next
	}
}
