package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/uptrace/bun"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/bulk"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/store/database"
)

// bulks is bulk.Store.
type bulks struct{ s *Store }

type bulkRow struct {
	bun.BaseModel `bun:"table:bulks"`

	ID          string `bun:"id,pk"`
	State       string
	Actions     string
	MaxParallel int
	OnFailure   string
	Reason      string
	Actor       string
	Total       int
	Completed   int
	Succeeded   int
	Failed      int
	Skipped     int
	CreatedAt   int64
	EndedAt     *int64
}

type itemRow struct {
	bun.BaseModel `bun:"table:bulk_items"`

	BulkID     string `bun:"bulk_id,pk"`
	AgentID    string `bun:"agent_id,pk"`
	Wave       int
	State      string
	Action     string
	Operations string
	Problem    string
	Note       string
	StartedAt  *int64
	EndedAt    *int64
}

func bulkRowOf(b *bulk.Bulk) (bulkRow, error) {
	actions, err := database.Encode(b.Actions)
	return bulkRow{
		ID: b.ID, State: string(b.State), Actions: actions, MaxParallel: b.MaxParallel, OnFailure: string(b.OnFailure),
		Reason: b.Reason, Actor: b.Actor, Total: b.Total, Completed: b.Completed, Succeeded: b.Succeeded,
		Failed: b.Failed, Skipped: b.Skipped, CreatedAt: database.Micros(b.CreatedAt), EndedAt: database.MicrosOf(b.EndedAt),
	}, err
}

func (r bulkRow) bulk() (*bulk.Bulk, error) {
	b := &bulk.Bulk{
		ID: r.ID, State: operation.State(r.State), MaxParallel: r.MaxParallel, OnFailure: bulk.OnFailure(r.OnFailure),
		Reason: r.Reason, Actor: r.Actor, Total: r.Total, Completed: r.Completed, Succeeded: r.Succeeded,
		Failed: r.Failed, Skipped: r.Skipped, CreatedAt: database.Moment(r.CreatedAt), EndedAt: database.MomentOf(r.EndedAt),
	}
	return b, database.Decode(r.Actions, &b.Actions)
}

func itemRowOf(bulkID string, it bulk.Item) (itemRow, error) {
	ops, err := database.Encode(it.Operations)
	if err != nil {
		return itemRow{}, err
	}
	problem, err := database.EncodeOptional(it.Problem)
	return itemRow{
		BulkID: bulkID, AgentID: it.AgentID, Wave: it.Wave, State: string(it.State), Action: string(it.Action),
		Operations: ops, Problem: problem, Note: it.Note, StartedAt: database.MicrosOf(it.StartedAt), EndedAt: database.MicrosOf(it.EndedAt),
	}, err
}

func (r itemRow) item() (bulk.Item, error) {
	it := bulk.Item{
		AgentID: r.AgentID, Wave: r.Wave, State: bulk.ItemState(r.State), Action: agent.Action(r.Action),
		Note: r.Note, StartedAt: database.MomentOf(r.StartedAt), EndedAt: database.MomentOf(r.EndedAt),
	}
	var err error
	if it.Problem, err = database.DecodeOptional[operation.Problem](r.Problem); err != nil {
		return it, err
	}
	return it, database.Decode(r.Operations, &it.Operations)
}

func noBulk(id string) error {
	return fault.New(fault.NotFound, "bulk.not_found", "There is no bulk operation %q", database.Clean(id))
}

// InsertBulk stores a new bulk operation with its items.
func (st bulks) InsertBulk(ctx context.Context, b *bulk.Bulk) error {
	row, err := bulkRowOf(b)
	if err != nil {
		return st.s.Explain(ctx, err)
	}
	items := make([]itemRow, len(b.Items))
	for i, it := range b.Items {
		if items[i], err = itemRowOf(b.ID, it); err != nil {
			return st.s.Explain(ctx, err)
		}
	}
	return insertWhole(ctx, st.s, &row, items,
		fault.New(fault.Conflict, "bulk.taken", "There is a bulk operation %q already", b.ID))
}

// Bulk gives one with its items, in order of wave and agent id.
func (st bulks) Bulk(ctx context.Context, id string) (*bulk.Bulk, error) {
	var row bulkRow
	db := st.s.Handle(ctx)
	err := db.NewSelect().Model(&row).Where("id = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, noBulk(id)
	}
	if err != nil {
		return nil, st.s.Explain(ctx, err)
	}
	b, err := row.bulk()
	if err != nil {
		return nil, st.s.Explain(ctx, err)
	}
	var rows []itemRow
	if err := db.NewSelect().Model(&rows).Where("bulk_id = ?", id).Order("wave", "agent_id").Scan(ctx); err != nil {
		return nil, st.s.Explain(ctx, err)
	}
	for _, r := range rows {
		it, err := r.item()
		if err != nil {
			return nil, st.s.Explain(ctx, err)
		}
		b.Items = append(b.Items, it)
	}
	return b, nil
}

// Bulks lists newest first, without items.
func (st bulks) Bulks(ctx context.Context, after string, limit int) ([]*bulk.Bulk, string, error) {
	from, err := database.ParseCursor("bulks", after)
	if err != nil {
		return nil, "", err
	}
	limit = database.Bounded(limit)
	var rows []bulkRow
	q := st.s.Handle(ctx).NewSelect().Model(&rows).Limit(int64(limit) + 1)
	if err := database.NewestFirst(q, from, "created_at").Scan(ctx); err != nil {
		return nil, "", st.s.Explain(ctx, err)
	}
	rows, next := database.Cut(rows, limit, func(r bulkRow) database.Cursor { return database.Cursor{List: "bulks", Num: r.CreatedAt, ID: r.ID} })
	list := make([]*bulk.Bulk, len(rows))
	for i, r := range rows {
		if list[i], err = r.bulk(); err != nil {
			return nil, "", st.s.Explain(ctx, err)
		}
	}
	return list, next, nil
}

// UpdateBulk stores everything but the items.
func (st bulks) UpdateBulk(ctx context.Context, b *bulk.Bulk) error {
	row, err := bulkRowOf(b)
	if err != nil {
		return st.s.Explain(ctx, err)
	}
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		stored, err := database.Affected(db.NewUpdate().Model(&row).WherePK().Exec(ctx))
		if err == nil && stored == 0 {
			return noBulk(b.ID)
		}
		return err
	})
}

// SaveItem stores one item by its agent id.
func (st bulks) SaveItem(ctx context.Context, bulkID string, it bulk.Item) error {
	row, err := itemRowOf(bulkID, it)
	if err != nil {
		return st.s.Explain(ctx, err)
	}
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		stored, err := database.Affected(db.NewUpdate().Model(&row).WherePK().Exec(ctx))
		if err == nil && stored == 0 {
			return fault.New(fault.NotFound, "bulk.item_not_found", "The agent %q is no part of the bulk operation %q", database.Clean(it.AgentID), database.Clean(bulkID))
		}
		return err
	})
}
