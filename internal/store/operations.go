package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/uptrace/bun"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/store/database"
)

// operations is operation.Store.
type operations struct{ s *Store }

type operationRow struct {
	bun.BaseModel `bun:"table:operations"`

	ID        string `bun:"id,pk"`
	Kind      string
	AgentID   string
	ParentID  string
	State     string
	Request   string
	Input     string
	Result    string
	Problem   string
	Completed int
	Total     int
	Actor     string
	Reason    string
	Undo      string
	UndoOf    string
	CreatedAt int64
	StartedAt *int64
	EndedAt   *int64
}

type stepRow struct {
	bun.BaseModel `bun:"table:operation_steps"`

	OperationID string `bun:"operation_id,pk"`
	Place       int    `bun:"place,pk"`
	Name        string
	State       string
	Attempts    int
	Detail      string
	Problem     string
	StartedAt   *int64
	EndedAt     *int64
}

type attemptRow struct {
	bun.BaseModel `bun:"table:operation_attempts"`

	OperationID string `bun:"operation_id,pk"`
	Place       int    `bun:"place,pk"`
	Step        string
	Number      int
	Undo        bool
	StartedAt   int64
	EndedAt     int64
	Error       string
}

func operationRowOf(op *operation.Operation) (operationRow, error) {
	problem, err := database.EncodeOptional(op.Problem)
	if err != nil {
		return operationRow{}, err
	}
	undo, err := database.EncodeOptional(op.Undo)
	return operationRow{
		ID: op.ID, Kind: op.Kind, AgentID: op.AgentID, ParentID: op.ParentID, State: string(op.State),
		Request: op.Request, Input: string(op.Input), Result: string(op.Result), Problem: problem,
		Completed: op.Completed, Total: op.Total, Actor: op.Actor, Reason: op.Reason, Undo: undo, UndoOf: op.UndoOf,
		CreatedAt: database.Micros(op.CreatedAt), StartedAt: database.MicrosOf(op.StartedAt), EndedAt: database.MicrosOf(op.EndedAt),
	}, err
}

func (r operationRow) operation() (*operation.Operation, error) {
	problem, err := database.DecodeOptional[operation.Problem](r.Problem)
	if err != nil {
		return nil, err
	}
	undo, err := database.DecodeOptional[operation.Undo](r.Undo)
	return &operation.Operation{
		ID: r.ID, Kind: r.Kind, AgentID: r.AgentID, ParentID: r.ParentID, State: operation.State(r.State),
		Request: r.Request, Input: database.Raw(r.Input), Result: database.Raw(r.Result), Problem: problem,
		Completed: r.Completed, Total: r.Total, Actor: r.Actor, Reason: r.Reason, Undo: undo, UndoOf: r.UndoOf,
		CreatedAt: database.Moment(r.CreatedAt), StartedAt: database.MomentOf(r.StartedAt), EndedAt: database.MomentOf(r.EndedAt),
	}, err
}

func stepRowOf(opID string, place int, s operation.Step) (stepRow, error) {
	problem, err := database.EncodeOptional(s.Problem)
	return stepRow{
		OperationID: opID, Place: place, Name: s.Name, State: string(s.State), Attempts: s.Attempts, Detail: s.Detail,
		Problem: problem, StartedAt: database.MicrosOf(s.StartedAt), EndedAt: database.MicrosOf(s.EndedAt),
	}, err
}

func (r stepRow) step() (operation.Step, error) {
	problem, err := database.DecodeOptional[operation.Problem](r.Problem)
	return operation.Step{
		Name: r.Name, State: operation.StepState(r.State), Attempts: r.Attempts, Detail: r.Detail,
		Problem: problem, StartedAt: database.MomentOf(r.StartedAt), EndedAt: database.MomentOf(r.EndedAt),
	}, err
}

func noOperation(id string) error {
	return fault.New(fault.NotFound, "operation.not_found", "There is no operation %q", database.Clean(id))
}

// Insert stores a new operation with its planned steps.
func (st operations) Insert(ctx context.Context, op *operation.Operation) error {
	row, err := operationRowOf(op)
	if err != nil {
		return st.s.Explain(ctx, err)
	}
	steps := make([]stepRow, len(op.Steps))
	for i, s := range op.Steps {
		if steps[i], err = stepRowOf(op.ID, i, s); err != nil {
			return st.s.Explain(ctx, err)
		}
	}
	return insertWhole(ctx, st.s, &row, steps,
		fault.New(fault.Conflict, "operation.taken", "There is an operation %q already", op.ID))
}

// insertWhole stores a row with the rows that are its parts; taken is the
// answer if its id is in use.
func insertWhole[P any](ctx context.Context, s *Store, row any, parts []P, taken error) error {
	return s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		stored, err := database.Affected(db.NewInsert().Model(row).On("CONFLICT DO NOTHING").Exec(ctx))
		if err != nil {
			return err
		}
		if stored == 0 {
			return taken
		}
		if len(parts) == 0 {
			return nil
		}
		_, err = db.NewInsert().Model(&parts).Exec(ctx)
		return err
	})
}

// Get gives an operation with its steps.
func (st operations) Get(ctx context.Context, id string) (*operation.Operation, error) {
	var row operationRow
	db := st.s.Handle(ctx)
	err := db.NewSelect().Model(&row).Where("id = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, noOperation(id)
	}
	if err != nil {
		return nil, st.s.Explain(ctx, err)
	}
	op, err := row.operation()
	if err != nil {
		return nil, st.s.Explain(ctx, err)
	}
	var steps []stepRow
	if err := db.NewSelect().Model(&steps).ExcludeColumn("operation_id", "place").Where("operation_id = ?", id).Order("place").Scan(ctx); err != nil {
		return nil, st.s.Explain(ctx, err)
	}
	for _, s := range steps {
		step, err := s.step()
		if err != nil {
			return nil, st.s.Explain(ctx, err)
		}
		op.Steps = append(op.Steps, step)
	}
	return op, nil
}

// Find lists newest first, without steps.
func (st operations) Find(ctx context.Context, q operation.Query) ([]*operation.Operation, string, error) {
	after, err := database.ParseCursor("operations", q.Cursor)
	if err != nil {
		return nil, "", err
	}
	limit := database.Bounded(q.Limit)
	var rows []operationRow
	sel := st.s.Handle(ctx).NewSelect().Model(&rows).Limit(int64(limit) + 1)
	if len(q.States) > 0 {
		sel.Where("state IN (?)", bun.List(q.States))
	}
	if len(q.Kinds) > 0 {
		sel.Where("kind IN (?)", bun.List(q.Kinds))
	}
	if len(q.AgentIDs) > 0 {
		sel.Where("agent_id IN (?)", bun.List(q.AgentIDs))
	}
	if q.ParentID != "" {
		sel.Where("parent_id = ?", q.ParentID)
	}
	if q.Actor != "" {
		sel.Where("actor = ?", q.Actor)
	}
	if !q.Since.IsZero() {
		sel.Where("created_at >= ?", database.Micros(q.Since))
	}
	if err := database.NewestFirst(sel, after, "created_at").Scan(ctx); err != nil {
		return nil, "", st.s.Explain(ctx, err)
	}
	rows, next := database.Cut(rows, limit, func(r operationRow) database.Cursor {
		return database.Cursor{List: "operations", Num: r.CreatedAt, ID: r.ID}
	})
	list := make([]*operation.Operation, len(rows))
	for i, r := range rows {
		if list[i], err = r.operation(); err != nil {
			return nil, "", st.s.Explain(ctx, err)
		}
	}
	return list, next, nil
}

// Update stores every field but the steps and what an operation was made with,
// which never changes: SQLite writes every index that a statement names a column of.
func (st operations) Update(ctx context.Context, op *operation.Operation) error {
	row, err := operationRowOf(op)
	if err != nil {
		return st.s.Explain(ctx, err)
	}
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		stored, err := database.Affected(db.NewUpdate().Model(&row).ExcludeColumn("kind", "agent_id", "parent_id", "actor", "created_at").WherePK().Exec(ctx))
		if err == nil && stored == 0 {
			return noOperation(op.ID)
		}
		return err
	})
}

// SaveStep stores one step by its index.
func (st operations) SaveStep(ctx context.Context, opID string, index int, s operation.Step) error {
	row, err := stepRowOf(opID, index, s)
	if err != nil {
		return st.s.Explain(ctx, err)
	}
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		stored, err := database.Affected(db.NewUpdate().Model(&row).WherePK().Exec(ctx))
		if err == nil && stored == 0 {
			return fault.New(fault.NotFound, "operation.step_not_found", "The operation %q has no step %d", database.Clean(opID), index)
		}
		return err
	})
}

// AddAttempt appends to the record of attempts.
func (st operations) AddAttempt(ctx context.Context, a operation.Attempt) error {
	row := attemptRow{
		OperationID: a.OperationID, Step: a.Step, Number: a.Number, Undo: a.Undo,
		StartedAt: database.Micros(a.StartedAt), EndedAt: database.Micros(a.EndedAt), Error: a.Error,
	}
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		err := db.NewSelect().Model((*attemptRow)(nil)).ColumnExpr("coalesce(max(place), -1) + 1").
			Where("operation_id = ?", a.OperationID).Scan(ctx, &row.Place)
		if err != nil {
			return err
		}
		_, err = db.NewInsert().Model(&row).Exec(ctx)
		if database.IsOrphan(err) {
			return noOperation(a.OperationID)
		}
		return err
	})
}

// Attempts lists them in order.
func (st operations) Attempts(ctx context.Context, opID string) ([]operation.Attempt, error) {
	var rows []attemptRow
	err := st.s.Handle(ctx).NewSelect().Model(&rows).Where("operation_id = ?", opID).Order("place").Scan(ctx)
	if err != nil {
		return nil, st.s.Explain(ctx, err)
	}
	list := make([]operation.Attempt, len(rows))
	for i, r := range rows {
		list[i] = operation.Attempt{
			OperationID: r.OperationID, Step: r.Step, Number: r.Number, Undo: r.Undo,
			StartedAt: database.Moment(r.StartedAt), EndedAt: database.Moment(r.EndedAt), Error: r.Error,
		}
	}
	return list, nil
}

// Unfinished gives the ids of all operations that are not final, oldest first.
func (st operations) Unfinished(ctx context.Context) ([]string, error) {
	ids := []string{}
	open := []operation.State{operation.Pending, operation.Running, operation.Paused, operation.Cancelling}
	err := st.s.Handle(ctx).NewSelect().Model((*operationRow)(nil)).Column("id").
		Where("state IN (?)", bun.List(open)).Order("created_at", "id").Scan(ctx, &ids)
	return ids, st.s.Explain(ctx, err)
}
