package observe

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"time"

	"github.com/uptrace/bun"

	"github.com/waooaw/platform-portal/internal/alert"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/store/database"
)

// Alerts keeps alerts, rules, silences, receivers and what is to be told.
func Alerts(db *database.DB) alert.Stores {
	return alert.Stores{Alerts: alerts{db}, Rules: alertRules{db}, Silences: silences{db}, Receivers: receivers{db}, Queue: alertQueue{db}}
}

// alerts is alert.Store.
type alerts struct{ db *database.DB }

type alertRow struct {
	bun.BaseModel `bun:"table:alerts"`

	ID         string `bun:"id,pk"`
	RuleID     string
	Name       string
	Severity   string
	Status     string
	AgentID    string
	Place      int64
	ChangedAt  int64
	ResolvedAt *int64
	Data       string
}

type changeRow struct {
	bun.BaseModel `bun:"table:alert_changes"`

	ID      int64 `bun:"id,pk,autoincrement"`
	AlertID string
	At      int64
	Status  string
	Actor   string
	Note    string
}

func noAlert() error {
	return fault.New(fault.NotFound, "alert.not_found", "There is no such alert").Do("It may have been removed because of its age.")
}

// one reads the row that q selects, and turns a missing one into the fault.
func one(ctx context.Context, db *database.DB, q *bun.SelectQuery, missing error) error {
	err := q.Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return missing
	}
	return db.Explain(ctx, err)
}

// put stores a row in the place of the one with its key; set are the columns that
// change.
func put(ctx context.Context, db *database.DB, row any, key string, set ...string) error {
	return db.Change(ctx, func(ctx context.Context, tx bun.IDB) error {
		q := tx.NewInsert().Model(row).On("CONFLICT (" + key + ") DO UPDATE")
		for _, name := range set {
			q = q.Set("? = EXCLUDED.?", bun.Ident(name), bun.Ident(name))
		}
		_, err := q.Exec(ctx)
		return err
	})
}

// take removes the rows that q selects; the fault if there are none.
func take(ctx context.Context, db *database.DB, missing error, q func(tx bun.IDB) *bun.DeleteQuery) error {
	return db.Change(ctx, func(ctx context.Context, tx bun.IDB) error {
		gone, err := database.Affected(q(tx).Exec(ctx))
		if err == nil && gone == 0 {
			return missing
		}
		return err
	})
}

// Alert gives one.
func (st alerts) Alert(ctx context.Context, id string) (*alert.Alert, error) {
	var row alertRow
	if err := one(ctx, st.db, st.db.Handle(ctx).NewSelect().Model(&row).Where("id = ?", id), noAlert()); err != nil {
		return nil, err
	}
	a := new(alert.Alert)
	return a, st.db.Explain(ctx, database.Decode(row.Data, a))
}

// Alerts lists by place, then the last changed first.
func (st alerts) Alerts(ctx context.Context, q alert.Query) ([]alert.Alert, string, error) {
	after, err := database.ParseCursor("alerts", q.Cursor)
	if err != nil {
		return nil, "", err
	}
	limit := database.Bounded(q.Limit)
	var rows []alertRow
	sel := st.db.Handle(ctx).NewSelect().Model(&rows).OrderExpr("place, changed_at DESC, id DESC").Limit(int64(limit) + 1)
	if after != nil {
		place, err := strconv.ParseInt(after.Text, 10, 64)
		if err != nil {
			return nil, "", fault.New(fault.Invalid, "store.bad_cursor", "The cursor does not belong to this list").Wrap(err)
		}
		sel = sel.Where("(place > ? OR place = ? AND (changed_at, id) < (?, ?))", place, place, after.Num, after.ID)
	}
	if len(q.Statuses) > 0 {
		sel = sel.Where("status IN (?)", bun.List(q.Statuses))
	}
	if len(q.Severities) > 0 {
		sel = sel.Where("severity IN (?)", bun.List(q.Severities))
	}
	if len(q.AgentIDs) > 0 {
		sel = sel.Where("agent_id IN (?)", bun.List(q.AgentIDs))
	}
	if q.Name != "" {
		sel = sel.Where("name = ?", q.Name)
	}
	if q.RuleID != "" {
		sel = sel.Where("rule_id = ?", q.RuleID)
	}
	if err := sel.Scan(ctx); err != nil {
		return nil, "", st.db.Explain(ctx, err)
	}
	rows, next := database.Cut(rows, limit, func(r alertRow) database.Cursor {
		return database.Cursor{List: "alerts", Num: r.ChangedAt, ID: r.ID, Text: strconv.FormatInt(r.Place, 10)}
	})
	list := make([]alert.Alert, len(rows))
	for i, r := range rows {
		if err := database.Decode(r.Data, &list[i]); err != nil {
			return nil, "", st.db.Explain(ctx, err)
		}
	}
	return list, next, nil
}

// SaveAlert stores an alert in the place of the one with its id.
func (st alerts) SaveAlert(ctx context.Context, a alert.Alert) error {
	data, err := database.Encode(a)
	if err != nil {
		return st.db.Explain(ctx, err)
	}
	row := alertRow{
		ID: a.ID, RuleID: a.RuleID, Name: a.Name, Severity: a.Severity, Status: string(a.Status), AgentID: a.AgentID, Place: int64(a.Place()),
		ChangedAt: database.Micros(a.ChangedAt), ResolvedAt: database.MicrosOf(a.ResolvedAt), Data: data,
	}
	return put(ctx, st.db, &row, "id", "status", "severity", "place", "changed_at", "resolved_at", "data")
}

// DropAlert removes one with its history.
func (st alerts) DropAlert(ctx context.Context, id string) error {
	return take(ctx, st.db, noAlert(), func(tx bun.IDB) *bun.DeleteQuery {
		return tx.NewDelete().Model((*alertRow)(nil)).Where("id = ?", id)
	})
}

// CountAlerts counts by status and severity.
func (st alerts) CountAlerts(ctx context.Context, agentIDs ...string) ([]alert.Tally, error) {
	var rows []struct {
		Status   string
		Severity string
		Count    int
	}
	q := st.db.Handle(ctx).NewSelect().Model((*alertRow)(nil)).ColumnExpr("status, severity, count(*) AS count").
		GroupExpr("status, severity").OrderExpr("status, severity")
	if len(agentIDs) > 0 {
		q = q.Where("agent_id IN (?)", bun.List(agentIDs))
	}
	if err := q.Scan(ctx, &rows); err != nil {
		return nil, st.db.Explain(ctx, err)
	}
	out := make([]alert.Tally, len(rows))
	for i, r := range rows {
		out[i] = alert.Tally{Status: alert.Status(r.Status), Severity: r.Severity, Count: r.Count}
	}
	return out, nil
}

// AddChange appends to the history of an alert.
func (st alerts) AddChange(ctx context.Context, c alert.Change) error {
	row := changeRow{AlertID: c.AlertID, At: database.Micros(c.At), Status: string(c.Status), Actor: c.Actor, Note: database.Clean(c.Note)}
	return st.db.Change(ctx, func(ctx context.Context, tx bun.IDB) error {
		_, err := tx.NewInsert().Model(&row).Exec(ctx)
		if database.IsOrphan(err) {
			return noAlert()
		}
		return err
	})
}

// maxChanges bounds the history that is shown of one alert.
const maxChanges = 500

// Changes lists oldest first.
func (st alerts) Changes(ctx context.Context, alertID string) ([]alert.Change, error) {
	var rows []changeRow
	err := st.db.Handle(ctx).NewSelect().Model(&rows).Where("alert_id = ?", alertID).Order("id").Limit(maxChanges).Scan(ctx)
	if err != nil {
		return nil, st.db.Explain(ctx, err)
	}
	out := make([]alert.Change, len(rows))
	for i, r := range rows {
		out[i] = alert.Change{AlertID: r.AlertID, At: database.Moment(r.At), Status: alert.Status(r.Status), Actor: r.Actor, Note: r.Note}
	}
	return out, nil
}

// PruneAlerts removes those resolved before.
func (st alerts) PruneAlerts(ctx context.Context, before time.Time) (int, error) {
	return st.db.Batches(ctx, func(ctx context.Context, tx bun.IDB) (int64, error) {
		return database.Affected(tx.NewRaw("DELETE FROM alerts WHERE id IN (SELECT id FROM alerts WHERE resolved_at < ? LIMIT ?)",
			database.Micros(before), database.PruneBatch).Exec(ctx))
	})
}
