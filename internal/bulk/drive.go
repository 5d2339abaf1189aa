package bulk

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
)

// drive is one run of a bulk operation, or of its rollback. What it has
// reached is stored with each item, so that a run after a crash of the portal
// goes on from there.
type drive struct {
	s    *Service
	opID string // the operation that drives
	gate func(ctx context.Context) error
	in   input

	mu    sync.Mutex // guards b with its items, and is held while they are stored
	b     *Bulk
	index map[string]int // place of each agent in b.Items
}

func (s *Service) open(ctx context.Context, run operation.Run) (*drive, error) {
	op := run.Operation()
	d := &drive{s: s, opID: op.ID, index: map[string]int{}, gate: func(context.Context) error { return nil }}
	if g, ok := run.(operation.Gate); ok {
		d.gate = g.Gate
	}
	if err := json.Unmarshal(op.Input, &d.in); err != nil {
		return nil, fault.New(fault.Invalid, "bulk.bad_input", "The plan of the bulk operation can't be read").Wrap(err)
	}
	var err error
	if d.b, err = s.Store.Bulk(ctx, d.in.BulkID); err != nil {
		return nil, err
	}
	for i, it := range d.b.Items {
		d.index[it.AgentID] = i
	}
	return d, nil
}

// summary is the result of the operation.
type summary struct {
	Total     int `json:"total"`
	Succeeded int `json:"succeeded"`
	Failed    int `json:"failed"`
	Skipped   int `json:"skipped"`
}

// run is the one step of a bulk operation.
func (s *Service) run(ctx context.Context, run operation.Run) error {
	d, err := s.open(ctx, run)
	if err != nil {
		return err
	}
	d.b.State = operation.Running
	if err := d.forward(ctx); err != nil {
		return err
	}
	if d.b.Failed > 0 && d.b.OnFailure == Rollback {
		if _, err := d.takeBack(ctx, 1); err != nil {
			return err
		}
	}
	if err := run.Result(summary{d.b.Total, d.b.Succeeded, d.b.Failed, d.b.Skipped}); err != nil {
		return err
	}
	if d.b.Failed > 0 {
		return fault.New(fault.Conflict, "bulk.failed", "%d of %d agents failed", d.b.Failed, d.b.Total).
			Do("See the result of each agent.")
	}
	return nil
}

// forward carries out the actions on every agent, and marks those that were
// not begun.
func (d *drive) forward(ctx context.Context) error {
	all := make([]string, len(d.b.Items))
	for i, it := range d.b.Items {
		all[i] = it.AgentID
	}
	rest, err := d.schedule(ctx, all, d.in.Needs, d.item, d.halted)
	if err != nil || operation.Uncancelled(ctx).Err() != nil {
		return firstError(err, operation.Uncancelled(ctx).Err())
	}
	note := "not started: another agent failed"
	if ctx.Err() != nil {
		note = "not started: the bulk operation was cancelled"
	}
	for _, id := range rest {
		it := d.get(id)
		if itemFinal(it.State) {
			continue
		}
		it.State, it.Note = ItemCancelled, join(it.Note, note)
		if err := d.save(ctx, &it); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// halted tells whether nothing more is to be begun because an agent failed.
func (d *drive) halted() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.b.OnFailure != Continue && d.b.Failed > 0
}

// schedule calls work for each agent once all that it needs have ended, at most
// MaxParallel at once, until all are done, halted answers true, one work
// returns an error, or ctx ends. It returns once no work is running, with those
// that were not begun.
func (d *drive) schedule(ctx context.Context, ids []string, needs map[string][]string,
	work func(ctx context.Context, id string) error, halted func() bool) (rest []string, err error) {
	open, followers := map[string]int{}, map[string][]string{}
	var ready []string
	for _, id := range ids {
		if open[id] = len(needs[id]); open[id] == 0 {
			ready = append(ready, id)
		}
		for _, need := range needs[id] {
			followers[need] = append(followers[need], id)
		}
	}
	type end struct {
		id  string
		err error
	}
	ends := make(chan end, len(ids))
	begun := map[string]bool{}
	for running := 0; ; {
		for err == nil && running < d.b.MaxParallel && len(ready) > 0 && ctx.Err() == nil && !halted() {
			if e := d.gate(ctx); e != nil && ctx.Err() == nil {
				err = e
			}
			if err != nil || ctx.Err() != nil || halted() {
				break
			}
			id := ready[0]
			ready = ready[1:]
			begun[id] = true
			running++
			go func() { ends <- end{id, work(ctx, id)} }()
		}
		if running == 0 {
			break
		}
		e := <-ends
		running--
		err = firstError(err, e.err)
		for _, f := range followers[e.id] {
			if open[f]--; open[f] == 0 {
				ready = append(ready, f)
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return begun[id] }), err
}

func (d *drive) get(id string) Item {
	d.mu.Lock()
	defer d.mu.Unlock()
	it := d.b.Items[d.index[id]]
	it.Operations = slices.Clone(it.Operations)
	return it
}

// save stores an item with the counts that follow from it, and announces it. It
// does so even while the operation is being cancelled.
func (d *drive) save(ctx context.Context, it *Item) error {
	now := d.s.Now().UTC()
	if it.StartedAt == nil && it.State == ItemRunning {
		it.StartedAt = &now
	}
	if it.EndedAt == nil && itemFinal(it.State) {
		it.EndedAt = &now
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	kept := *it
	kept.Operations = slices.Clone(it.Operations) // the item's work goes on with its own
	d.b.Items[d.index[it.AgentID]] = kept
	count(d.b)
	head := *d.b
	return d.s.Tx.Do(operation.Uncancelled(ctx), func(ctx context.Context) error {
		if err := d.s.Store.SaveItem(ctx, head.ID, kept); err != nil {
			return err
		}
		if err := d.s.Store.UpdateBulk(ctx, &head); err != nil {
			return err
		}
		return d.s.Events.Append(ctx, d.s.progress(&head, &kept))
	})
}

func itemFinal(s ItemState) bool { return s != ItemPending && s != ItemRunning }

// count sets the counts of b from its items.
func count(b *Bulk) {
	b.Completed, b.Succeeded, b.Failed, b.Skipped = 0, 0, 0, 0
	for _, it := range b.Items {
		if itemFinal(it.State) {
			b.Completed++
		}
		switch it.State {
		case ItemSucceeded:
			b.Succeeded++
		case ItemFailed:
			b.Failed++
		case ItemSkipped:
			b.Skipped++
		}
	}
}

func join(notes ...string) string {
	out := ""
	for _, n := range notes {
		switch {
		case n == "" || n == out:
		case out == "":
			out = n
		default:
			out = fmt.Sprintf("%s; %s", out, n)
		}
	}
	return out
}
