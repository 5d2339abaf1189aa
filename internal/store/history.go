package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/store/database"
)

// history is agent.History.
type history struct{ s *Store }

type revisionRow struct {
	bun.BaseModel `bun:"table:agent_revisions"`

	AgentID   string `bun:"agent_id,pk"`
	Number    int    `bun:"number,pk"`
	Spec      string
	CreatedBy string
	Reason    string
	CreatedAt int64
}

func (r revisionRow) revision() (agent.Revision, error) {
	out := agent.Revision{AgentID: r.AgentID, Number: r.Number, CreatedBy: r.CreatedBy, Reason: r.Reason, CreatedAt: database.Moment(r.CreatedAt)}
	return out, database.Decode(r.Spec, &out.Spec)
}

type transitionRow struct {
	bun.BaseModel `bun:"table:agent_states"`

	ID            string `bun:"id,pk"`
	AgentID       string
	State         string
	PreviousState string
	Metadata      string
	TriggeredBy   string
	CreatedAt     int64
}

// AddRevision stores the next revisions.
func (st history) AddRevision(ctx context.Context, list ...agent.Revision) error {
	if len(list) == 0 {
		return nil
	}
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error { return addRevisions(ctx, db, list) })
}

func addRevisions(ctx context.Context, db bun.IDB, list []agent.Revision) error {
	rows := make([]revisionRow, len(list))
	for i, r := range list {
		spec, err := database.Encode(r.Spec)
		if err != nil {
			return err
		}
		rows[i] = revisionRow{AgentID: r.AgentID, Number: r.Number, Spec: spec, CreatedBy: r.CreatedBy, Reason: r.Reason, CreatedAt: database.Micros(r.CreatedAt)}
	}
	stored, err := database.Affected(db.NewInsert().Model(&rows).On("CONFLICT DO NOTHING").Exec(ctx))
	if err == nil && stored < int64(len(rows)) {
		whose := fmt.Sprintf("The agent %q has a revision %d already", list[0].AgentID, list[0].Number)
		if len(list) > 1 {
			whose = fmt.Sprintf("One of %d agents, of which %q is the first, has its next revision already", len(list), list[0].AgentID)
		}
		return fault.New(fault.Conflict, "agent.revision_taken", "%s", whose).Do("Read the agent again, and repeat the change if it still makes sense.")
	}
	return database.OfAgent(list[0].AgentID, err)
}

// Revision gives one.
func (st history) Revision(ctx context.Context, agentID string, number int) (*agent.Revision, error) {
	var row revisionRow
	err := st.s.Handle(ctx).NewSelect().Model(&row).Where("agent_id = ? AND number = ?", agentID, number).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fault.New(fault.NotFound, "agent.revision_not_found", "The agent %q has no revision %d", database.Clean(agentID), number)
	}
	if err != nil {
		return nil, st.s.Explain(ctx, err)
	}
	r, err := row.revision()
	return &r, st.s.Explain(ctx, err)
}

// Revisions lists newest first.
func (st history) Revisions(ctx context.Context, agentID string, before, limit int) ([]agent.Revision, error) {
	var rows []revisionRow
	q := st.s.Handle(ctx).NewSelect().Model(&rows).Where("agent_id = ?", agentID).Order("number DESC").Limit(int64(database.Bounded(limit)))
	if before > 0 {
		q = q.Where("number < ?", before)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, st.s.Explain(ctx, err)
	}
	list := make([]agent.Revision, 0, len(rows))
	for _, row := range rows {
		r, err := row.revision()
		if err != nil {
			return nil, st.s.Explain(ctx, err)
		}
		list = append(list, r)
	}
	return list, nil
}

// AddTransition appends to the history.
func (st history) AddTransition(ctx context.Context, t agent.Transition) error {
	if t.Metadata == nil {
		t.Metadata = map[string]any{}
	}
	metadata, err := database.Encode(t.Metadata)
	if err != nil {
		return st.s.Explain(ctx, err)
	}
	row := transitionRow{
		ID: t.ID, AgentID: t.AgentID, State: string(t.State), PreviousState: string(t.PreviousState),
		Metadata: metadata, TriggeredBy: t.TriggeredBy, CreatedAt: database.Micros(t.CreatedAt),
	}
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		_, err := db.NewInsert().Model(&row).Exec(ctx)
		return database.OfAgent(t.AgentID, err)
	})
}

// Transitions lists newest first.
func (st history) Transitions(ctx context.Context, agentID, after string, limit int) ([]agent.Transition, string, error) {
	name := "transitions/" + agentID
	from, err := database.ParseCursor(name, after)
	if err != nil {
		return nil, "", err
	}
	limit = database.Bounded(limit)
	var rows []transitionRow
	q := st.s.Handle(ctx).NewSelect().Model(&rows).Where("agent_id = ?", agentID).Limit(int64(limit) + 1)
	if err := database.NewestFirst(q, from, "created_at").Scan(ctx); err != nil {
		return nil, "", st.s.Explain(ctx, err)
	}
	rows, next := database.Cut(rows, limit, func(r transitionRow) database.Cursor { return database.Cursor{List: name, Num: r.CreatedAt, ID: r.ID} })
	list := make([]agent.Transition, 0, len(rows))
	for _, r := range rows {
		t := agent.Transition{
			ID: r.ID, AgentID: r.AgentID, State: agent.State(r.State), PreviousState: agent.State(r.PreviousState),
			TriggeredBy: r.TriggeredBy, CreatedAt: database.Moment(r.CreatedAt),
		}
		if err := database.Decode(r.Metadata, &t.Metadata); err != nil {
			return nil, "", st.s.Explain(ctx, err)
		}
		list = append(list, t)
	}
	return list, next, nil
}
