package observe

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/waooaw/platform-portal/internal/alert"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/store/database"
)

// alertRules is alert.RuleStore.
type alertRules struct{ db *database.DB }

type fileRow struct {
	bun.BaseModel `bun:"table:alert_files"`

	Name      string `bun:"name,pk"`
	Content   string
	Actor     string
	UpdatedAt int64
}

type overrideRow struct {
	bun.BaseModel `bun:"table:alert_overrides"`

	RuleID string `bun:"rule_id,pk"`
	Data   string
}

type markRow struct {
	bun.BaseModel `bun:"table:marks"`

	Name  string `bun:"name,pk"`
	Place int64
}

// Uploads lists rule files by name.
func (st alertRules) Uploads(ctx context.Context) ([]alert.Upload, error) {
	var rows []fileRow
	if err := st.db.Handle(ctx).NewSelect().Model(&rows).Order("name").Scan(ctx); err != nil {
		return nil, st.db.Explain(ctx, err)
	}
	out := make([]alert.Upload, len(rows))
	for i, r := range rows {
		out[i] = alert.Upload{Name: r.Name, Content: r.Content, By: r.Actor, UpdatedAt: database.Moment(r.UpdatedAt)}
	}
	return out, nil
}

// SaveUpload stores a rule file in the place of the one with its name.
func (st alertRules) SaveUpload(ctx context.Context, u alert.Upload) error {
	row := fileRow{Name: u.Name, Content: u.Content, Actor: u.By, UpdatedAt: database.Micros(u.UpdatedAt)}
	return put(ctx, st.db, &row, "name", "content", "actor", "updated_at")
}

// DeleteUpload removes a rule file.
func (st alertRules) DeleteUpload(ctx context.Context, name string) error {
	missing := fault.New(fault.NotFound, "alert.no_file", "There is no uploaded rule file %q", database.Clean(name))
	return take(ctx, st.db, missing, func(tx bun.IDB) *bun.DeleteQuery {
		return tx.NewDelete().Model((*fileRow)(nil)).Where("name = ?", name)
	})
}

// Overrides lists what was changed of rules.
func (st alertRules) Overrides(ctx context.Context) ([]alert.Override, error) {
	var rows []overrideRow
	if err := st.db.Handle(ctx).NewSelect().Model(&rows).Order("rule_id").Scan(ctx); err != nil {
		return nil, st.db.Explain(ctx, err)
	}
	out := make([]alert.Override, len(rows))
	for i, r := range rows {
		if err := database.Decode(r.Data, &out[i]); err != nil {
			return nil, st.db.Explain(ctx, err)
		}
	}
	return out, nil
}

// SaveOverride stores what was changed of a rule.
func (st alertRules) SaveOverride(ctx context.Context, o alert.Override) error {
	data, err := database.Encode(o)
	if err != nil {
		return st.db.Explain(ctx, err)
	}
	return put(ctx, st.db, &overrideRow{RuleID: o.RuleID, Data: data}, "rule_id", "data")
}

// DeleteOverride gives a rule back what its file says.
func (st alertRules) DeleteOverride(ctx context.Context, ruleID string) error {
	missing := fault.New(fault.NotFound, "alert.no_override", "Nothing was changed of that rule")
	return take(ctx, st.db, missing, func(tx bun.IDB) *bun.DeleteQuery {
		return tx.NewDelete().Model((*overrideRow)(nil)).Where("rule_id = ?", ruleID)
	})
}

// Mark gives a number that was kept under the name, 0 if none was.
func (st alertRules) Mark(ctx context.Context, name string) (int64, error) {
	var row markRow
	err := st.db.Handle(ctx).NewSelect().Model(&row).Where("name = ?", name).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return row.Place, st.db.Explain(ctx, err)
}

// SetMark keeps a number.
func (st alertRules) SetMark(ctx context.Context, name string, value int64) error {
	return put(ctx, st.db, &markRow{Name: name, Place: value}, "name", "place")
}

// silences is alert.SilenceStore.
type silences struct{ db *database.DB }

type silenceRow struct {
	bun.BaseModel `bun:"table:silences"`

	ID     string `bun:"id,pk"`
	EndsAt int64
	Data   string
}

// Silence gives one.
func (st silences) Silence(ctx context.Context, id string) (*alert.Silence, error) {
	var row silenceRow
	missing := fault.New(fault.NotFound, "alert.no_silence", "There is no such silence")
	if err := one(ctx, st.db, st.db.Handle(ctx).NewSelect().Model(&row).Where("id = ?", id), missing); err != nil {
		return nil, err
	}
	s := new(alert.Silence)
	return s, st.db.Explain(ctx, database.Decode(row.Data, s))
}

// Silences lists those that end last first.
func (st silences) Silences(ctx context.Context, ending time.Time, after string, limit int) ([]alert.Silence, string, error) {
	from, err := database.ParseCursor("silences", after)
	if err != nil {
		return nil, "", err
	}
	limit = database.Bounded(limit)
	var rows []silenceRow
	q := st.db.Handle(ctx).NewSelect().Model(&rows).Limit(int64(limit) + 1)
	if !ending.IsZero() {
		q = q.Where("ends_at > ?", database.Micros(ending))
	}
	if err := database.NewestFirst(q, from, "ends_at").Scan(ctx); err != nil {
		return nil, "", st.db.Explain(ctx, err)
	}
	rows, next := database.Cut(rows, limit, func(r silenceRow) database.Cursor {
		return database.Cursor{List: "silences", Num: r.EndsAt, ID: r.ID}
	})
	list := make([]alert.Silence, len(rows))
	for i, r := range rows {
		if err := database.Decode(r.Data, &list[i]); err != nil {
			return nil, "", st.db.Explain(ctx, err)
		}
	}
	return list, next, nil
}

// SaveSilence stores a silence in the place of the one with its id.
func (st silences) SaveSilence(ctx context.Context, s alert.Silence) error {
	data, err := database.Encode(s)
	if err != nil {
		return st.db.Explain(ctx, err)
	}
	return put(ctx, st.db, &silenceRow{ID: s.ID, EndsAt: database.Micros(s.EndsAt), Data: data}, "id", "ends_at", "data")
}

// PruneSilences removes those that ended before.
func (st silences) PruneSilences(ctx context.Context, before time.Time) (int, error) {
	return st.db.Batches(ctx, func(ctx context.Context, tx bun.IDB) (int64, error) {
		return database.Affected(tx.NewRaw("DELETE FROM silences WHERE id IN (SELECT id FROM silences WHERE ends_at < ? LIMIT ?)",
			database.Micros(before), database.PruneBatch).Exec(ctx))
	})
}
