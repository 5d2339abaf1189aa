package view

import (
	"fmt"
	"time"

	"github.com/waooaw/platform-portal/internal/bulk"
	"github.com/waooaw/platform-portal/internal/operation"
)

// Bulk is what the row of a bulk operation is made of.
type Bulk struct{ *bulk.Bulk }

// Row is the bulk operation's cells: state, progress, completed, succeeded,
// failed, skipped, cancelled, back (what was rolled back), running, remaining, ended, took, and for each agent item-ID with its
// result and note-ID with the reason.
func (b Bulk) Row() Row {
	in := map[bulk.ItemState]int{}
	for _, it := range b.Items {
		in[it.State]++
	}
	running, cancelled, back := in[bulk.ItemRunning], in[bulk.ItemCancelled], in[bulk.ItemRolledBack]
	done := b.Completed - cancelled // what was cancelled is over, but it is not done
	r := Row{
		"state":     OperationState(b.State),
		"progress":  progress(done, b.Total),
		"completed": {Text: Count(done) + " of " + Count(b.Total)},
		"succeeded": {Text: Count(b.Succeeded), Status: some(b.Succeeded, "success")},
		"failed":    {Text: Count(b.Failed), Status: some(b.Failed, "error")},
		"skipped":   {Text: Count(b.Skipped), Status: some(b.Skipped, "skipped")},
		"cancelled": {Text: Count(cancelled), Status: some(cancelled, "warning")},
		"back":      {Text: Count(back), Status: some(back, "warning")},
		"running":   {Text: Count(running), Status: some(running, "busy")},
		"remaining": b.remaining(),
		"ended":     {},
		"took":      {},
	}
	p := r["progress"]
	p.Hint = fmt.Sprintf("%d of %d agents done", done, b.Total)
	r["progress"] = p
	if b.EndedAt != nil {
		r["ended"] = When(*b.EndedAt)
		r["took"] = Cell{Text: Duration(b.EndedAt.Sub(b.CreatedAt))}
	}
	for _, it := range b.Items {
		r["item-"+it.AgentID], r["note-"+it.AgentID] = Item(it)
	}
	return r.plain()
}

// remaining is how long it still takes if it goes on as it did until the last
// agent was done; empty before any is.
func (b Bulk) remaining() Cell {
	if b.State != operation.Running || b.Completed == 0 {
		return Cell{}
	}
	var last time.Time
	for _, it := range b.Items {
		if it.EndedAt != nil && it.EndedAt.After(last) {
			last = *it.EndedAt
		}
	}
	each := last.Sub(b.CreatedAt) / time.Duration(b.Completed)
	if each <= 0 {
		return Cell{}
	}
	return Cell{Text: "about " + Duration(each*time.Duration(b.Total-b.Completed)) + " left", Hint: "As fast as the agents that are done"}
}

// Item is the cells of one agent's part: its state, and why.
func Item(it bulk.Item) (state, note Cell) {
	state = Cell{Text: Words(string(it.State)), Status: string(it.State)}
	if it.State == bulk.ItemRunning && it.Action != "" {
		state.Text = Doing(it.Action)
	}
	note = Cell{Text: it.Note}
	if it.Problem != nil {
		note = problem(it.Problem)
	}
	return state, note
}

// some gives the status where there is something to count.
func some(n int, status string) string {
	if n > 0 {
		return status
	}
	return "none"
}
