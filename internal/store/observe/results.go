// Package observe keeps what is found out by watching agents, on the connections
// of the package database.
package observe

import (
	"context"
	"strconv"
	"time"

	"github.com/uptrace/bun"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/health"
	"github.com/waooaw/platform-portal/internal/store/database"
)

// results is health.Store.
type results struct{ db *database.DB }

// Results keeps probe results.
func Results(db *database.DB) health.Store { return results{db} }

type resultRow struct {
	bun.BaseModel `bun:"table:probe_results"`

	ID         int64 `bun:"id,pk,autoincrement"`
	AgentID    string
	InstanceID string
	Kind       string
	OK         bool `bun:"ok"`
	Reason     string
	Latency    int64 // nanoseconds
	At         int64
}

// AddResult appends to the history of probe results.
func (st results) AddResult(ctx context.Context, r health.Result) error {
	row := resultRow{
		AgentID: r.AgentID, InstanceID: r.InstanceID, Kind: string(r.Kind), OK: r.OK, Reason: r.Reason,
		Latency: int64(r.Latency), At: database.Micros(r.At),
	}
	return st.db.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		_, err := db.NewInsert().Model(&row).Exec(ctx)
		return database.OfAgent(r.AgentID, err)
	})
}

// Results lists newest first.
func (st results) Results(ctx context.Context, agentID, after string, limit int) ([]health.Result, string, error) {
	name := "probes/" + agentID
	from, err := database.ParseCursor(name, after)
	if err != nil {
		return nil, "", err
	}
	limit = database.Bounded(limit)
	var rows []resultRow
	q := st.db.Handle(ctx).NewSelect().Model(&rows).Where("agent_id = ?", agentID).Order("at DESC", "id DESC").Limit(int64(limit) + 1)
	if from != nil {
		id, err := strconv.ParseInt(from.ID, 10, 64)
		if err != nil {
			return nil, "", fault.New(fault.Invalid, "store.bad_cursor", "The database.Cursor does not belong to this list").Wrap(err)
		}
		q = q.Where("(at, id) < (?, ?)", from.Num, id)
	}
	if err := q.Scan(ctx); err != nil {
		return nil, "", st.db.Explain(ctx, err)
	}
	rows, next := database.Cut(rows, limit, func(r resultRow) database.Cursor {
		return database.Cursor{List: name, Num: r.At, ID: strconv.FormatInt(r.ID, 10)}
	})
	list := make([]health.Result, len(rows))
	for i, r := range rows {
		list[i] = health.Result{
			AgentID: r.AgentID, InstanceID: r.InstanceID, Kind: health.Kind(r.Kind), OK: r.OK, Reason: r.Reason,
			Latency: time.Duration(r.Latency), At: database.Moment(r.At),
		}
	}
	return list, next, nil
}

// PruneResults removes those older than before.
func (st results) PruneResults(ctx context.Context, before time.Time) (int, error) {
	return st.db.Batches(ctx, func(ctx context.Context, db bun.IDB) (int64, error) {
		return database.Affected(db.NewRaw("DELETE FROM probe_results WHERE id IN (SELECT id FROM probe_results WHERE at < ? LIMIT ?)",
			database.Micros(before), database.PruneBatch).Exec(ctx))
	})
}
