package observe

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/waooaw/platform-portal/internal/diagnosis"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/store/database"
)

// DiagnosisStore is diagnosis.Store.
type DiagnosisStore struct{ db *database.DB }

var _ diagnosis.Store = DiagnosisStore{}

// Diagnoses keeps what was found by looking at the portal and at agents.
func Diagnoses(db *database.DB) DiagnosisStore { return DiagnosisStore{db} }

type diagnosisRow struct {
	bun.BaseModel `bun:"table:diagnoses"`

	ID        string `bun:"id,pk"`
	Place     string
	AgentID   *string
	Cause     string
	Actor     string
	Status    string
	Name      string
	Findings  string
	StartedAt int64
	EndedAt   int64
}

func (r diagnosisRow) diagnosis() (diagnosis.Diagnosis, error) {
	d := diagnosis.Diagnosis{
		ID: r.ID, Scope: diagnosis.Portal, AgentName: r.Name, Trigger: diagnosis.Trigger(r.Cause), By: r.Actor,
		StartedAt: database.Moment(r.StartedAt), EndedAt: database.Moment(r.EndedAt),
	}
	if r.AgentID != nil {
		d.Scope, d.AgentID = diagnosis.Agent, *r.AgentID
	}
	err := database.Decode(r.Findings, &d.Findings)
	d.Sum()
	return d, err
}

// PutDiagnosis stores a run and removes the oldest of its scope beyond keep.
func (st DiagnosisStore) PutDiagnosis(ctx context.Context, d diagnosis.Diagnosis, keep int) error {
	findings, err := database.Encode(d.Findings)
	if err != nil {
		return st.db.Explain(ctx, err)
	}
	row := diagnosisRow{
		ID: d.ID, Place: string(diagnosis.Portal), Cause: string(d.Trigger), Actor: database.Clean(d.By), Status: string(d.Status), Name: database.Clean(d.AgentName),
		Findings: findings, StartedAt: database.Micros(d.StartedAt), EndedAt: database.Micros(d.EndedAt),
	}
	if d.Scope == diagnosis.Agent {
		row.Place, row.AgentID = "agent/"+d.AgentID, &d.AgentID
	}
	return st.db.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		if _, err := db.NewInsert().Model(&row).Exec(ctx); err != nil {
			return database.OfAgent(d.AgentID, err)
		}
		_, err := db.NewRaw("DELETE FROM diagnoses WHERE place = ? AND id NOT IN (SELECT id FROM diagnoses WHERE place = ? ORDER BY started_at DESC, id DESC LIMIT ?)",
			row.Place, row.Place, max(keep, 1)).Exec(ctx)
		return err
	})
}

// Diagnosis gives one.
func (st DiagnosisStore) Diagnosis(ctx context.Context, id string) (*diagnosis.Diagnosis, error) {
	var row diagnosisRow
	// Compared as texts: PostgreSQL refuses to look for what is no UUID.
	err := st.db.Handle(ctx).NewSelect().Model(&row).Where("CAST(id AS TEXT) = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fault.New(fault.NotFound, "diagnostic.not_found", "There is no diagnosis %q", database.Clean(id)).
			Do("List the diagnoses; only the last %d of each scope are kept.", diagnosis.Keep)
	}
	if err != nil {
		return nil, st.db.Explain(ctx, err)
	}
	d, err := row.diagnosis()
	return &d, st.db.Explain(ctx, err)
}

// Diagnoses lists newest first.
func (st DiagnosisStore) Diagnoses(ctx context.Context, q diagnosis.Query) ([]diagnosis.Diagnosis, string, error) {
	from, err := database.ParseCursor("diagnoses", q.Cursor)
	if err != nil {
		return nil, "", err
	}
	limit := database.Bounded(q.Limit)
	var rows []diagnosisRow
	sel := st.db.Handle(ctx).NewSelect().Model(&rows).Limit(int64(limit) + 1)
	switch {
	case len(q.AgentIDs) > 0:
		sel.Where("agent_id IN (?)", bun.List(q.AgentIDs))
	case q.Scope == diagnosis.Portal:
		sel.Where("place = ?", string(diagnosis.Portal))
	case q.Scope == diagnosis.Agent:
		sel.Where("agent_id IS NOT NULL")
	}
	if err := database.NewestFirst(sel, from, "started_at").Scan(ctx); err != nil {
		return nil, "", st.db.Explain(ctx, err)
	}
	rows, next := database.Cut(rows, limit, func(r diagnosisRow) database.Cursor {
		return database.Cursor{List: "diagnoses", Num: r.StartedAt, ID: r.ID}
	})
	list := make([]diagnosis.Diagnosis, len(rows))
	for i, r := range rows {
		if list[i], err = r.diagnosis(); err != nil {
			return nil, "", st.db.Explain(ctx, err)
		}
	}
	return list, next, nil
}

// Try writes a row of its own, and reads it back once it is committed.
func (st DiagnosisStore) Try(ctx context.Context) (write, read time.Duration, err error) {
	start := time.Now()
	var wrote, found int64
	err = st.db.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		return db.NewRaw("UPDATE diagnosis_try SET tries = tries + 1 WHERE id = 1 RETURNING tries").Scan(ctx, &wrote)
	})
	if err != nil {
		return 0, 0, err
	}
	write = time.Since(start)
	start = time.Now()
	if err := st.db.Handle(ctx).NewRaw("SELECT tries FROM diagnosis_try WHERE id = 1").Scan(ctx, &found); err != nil {
		return write, 0, st.db.Explain(ctx, err)
	}
	if found < wrote { // another portal may have written meanwhile
		err = fault.New(fault.Unavailable, "store.lost_write", "What was stored can't be read again").Wrap(fmt.Errorf("stored %d and read %d", wrote, found))
	}
	return write, time.Since(start), err
}
