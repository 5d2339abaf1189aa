package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"github.com/uptrace/bun"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/preference"
	"github.com/waooaw/platform-portal/internal/store/database"
)

// preferences is preference.Store.
type preferences struct{ s *Store }

type preferenceRow struct {
	bun.BaseModel `bun:"table:preferences"`

	Owner     string `bun:"owner,pk"`
	Key       string `bun:"name,pk"`
	Value     string
	UpdatedAt int64
}

func (r preferenceRow) preference() preference.Preference {
	return preference.Preference{Owner: r.Owner, Key: r.Key, Value: json.RawMessage(r.Value), UpdatedAt: database.Moment(r.UpdatedAt)}
}

func noPreference() error {
	return fault.New(fault.NotFound, "preference.not_found", "There is no such preference")
}

// Preference gives one.
func (st preferences) Preference(ctx context.Context, owner, key string) (*preference.Preference, error) {
	var row preferenceRow
	err := st.s.Handle(ctx).NewSelect().Model(&row).Where("owner = ? AND name = ?", owner, key).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, noPreference()
	}
	if err != nil {
		return nil, st.s.Explain(ctx, err)
	}
	p := row.preference()
	return &p, nil
}

// Preferences gives those of one person whose key begins with prefix.
func (st preferences) Preferences(ctx context.Context, owner, prefix string) ([]preference.Preference, error) {
	var rows []preferenceRow
	// Whatever collation the database has: keys are ASCII without what sorts after "~".
	err := st.s.Handle(ctx).NewSelect().Model(&rows).Where("owner = ? AND name >= ? AND name < ?", owner, prefix, prefix+"~").
		OrderExpr("name").Scan(ctx)
	if err != nil {
		return nil, st.s.Explain(ctx, err)
	}
	list := make([]preference.Preference, len(rows))
	for i, r := range rows {
		list[i] = r.preference()
	}
	return list, nil
}

// PutPreference stores one in the place of the one that was there.
func (st preferences) PutPreference(ctx context.Context, p preference.Preference) error {
	row := preferenceRow{Owner: p.Owner, Key: p.Key, Value: string(p.Value), UpdatedAt: database.Micros(p.UpdatedAt)}
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		_, err := db.NewInsert().Model(&row).On("CONFLICT (owner, name) DO UPDATE").
			Set("value = EXCLUDED.value").Set("updated_at = EXCLUDED.updated_at").Exec(ctx)
		return err
	})
}

// DeletePreference removes one.
func (st preferences) DeletePreference(ctx context.Context, owner, key string) error {
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		gone, err := database.Affected(db.NewDelete().Model((*preferenceRow)(nil)).Where("owner = ? AND name = ?", owner, key).Exec(ctx))
		if err == nil && gone == 0 {
			return noPreference()
		}
		return err
	})
}
