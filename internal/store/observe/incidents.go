package observe

import (
	"context"
	"database/sql"
	"errors"
	"strconv"
	"time"

	"github.com/uptrace/bun"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/recovery"
	"github.com/waooaw/platform-portal/internal/recovery/cause"
	"github.com/waooaw/platform-portal/internal/store/database"
)

// Incidents is recovery.Store and recovery.Memory.
type Incidents struct{ db *database.DB }

// IncidentsOf keeps incidents on the connections.
func IncidentsOf(db *database.DB) *Incidents { return &Incidents{db} }

type incidentRow struct {
	bun.BaseModel `bun:"table:incidents"`

	ID          string `bun:"id,pk"`
	AgentID     string
	State       string
	Class       string
	Cause       string
	Fingerprint string
	Count       int
	FirstSeen   int64
	LastSeen    int64
	RecoveredAt *int64
	Version     int64
	Seq         int64
	Data        string
}

func incidentRowOf(in *recovery.Incident) (incidentRow, error) {
	data, err := database.Encode(in)
	return incidentRow{
		ID: in.ID, AgentID: in.AgentID, State: string(in.State), Class: string(in.Class), Cause: string(in.Cause),
		Fingerprint: in.Fingerprint, Count: in.Count, FirstSeen: database.Micros(in.FirstSeen), LastSeen: database.Micros(in.LastSeen),
		RecoveredAt: database.MicrosOf(in.RecoveredAt), Version: in.Version, Seq: in.Seq, Data: database.Clean(data),
	}, err
}

func (r incidentRow) incident() (*recovery.Incident, error) {
	in := &recovery.Incident{}
	if err := database.Decode(r.Data, in); err != nil {
		return nil, err
	}
	in.FirstSeen, in.LastSeen, in.RecoveredAt = database.Moment(r.FirstSeen), database.Moment(r.LastSeen), database.MomentOf(r.RecoveredAt)
	in.Version, in.Seq = r.Version, r.Seq
	return in, nil
}

func noIncident(id string) error {
	return fault.New(fault.NotFound, "error.not_found", "There is no error record %q", database.Clean(id))
}

// InsertIncident stores a new one.
func (st *Incidents) InsertIncident(ctx context.Context, in *recovery.Incident) error {
	in.Version = 1
	row, err := incidentRowOf(in)
	if err != nil {
		return st.db.Explain(ctx, err)
	}
	return st.db.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		_, err := db.NewInsert().Model(&row).Exec(ctx)
		return err
	})
}

// UpdateIncident stores all of it if nobody else did meanwhile.
func (st *Incidents) UpdateIncident(ctx context.Context, in *recovery.Incident) error {
	row, err := incidentRowOf(in)
	if err != nil {
		return st.db.Explain(ctx, err)
	}
	row.Version++
	err = st.db.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		stored, err := database.Affected(db.NewUpdate().Model(&row).WherePK().Where("version = ?", in.Version).Exec(ctx))
		if err == nil && stored == 0 {
			return fault.New(fault.Stale, "error.stale", "The error record was changed meanwhile").Do("Read it again.")
		}
		return err
	})
	if err == nil {
		in.Version++
	}
	return err
}

// Incident gives one; NotFound.
func (st *Incidents) Incident(ctx context.Context, id string) (*recovery.Incident, error) {
	var row incidentRow
	err := st.db.Handle(ctx).NewSelect().Model(&row).Where("id = ?", id).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, noIncident(id)
	}
	if err != nil {
		return nil, st.db.Explain(ctx, err)
	}
	in, err := row.incident()
	return in, st.db.Explain(ctx, err)
}

// Incidents lists newest first.
func (st *Incidents) Incidents(ctx context.Context, q recovery.Query) ([]*recovery.Incident, string, error) {
	from, err := database.ParseCursor("incidents", q.Cursor)
	if err != nil {
		return nil, "", err
	}
	limit := database.Bounded(q.Limit)
	var rows []incidentRow
	sel := st.db.Handle(ctx).NewSelect().Model(&rows).Limit(int64(limit) + 1)
	anyOf(sel, "agent_id", q.AgentIDs)
	anyOf(sel, "state", q.States)
	anyOf(sel, "class", q.Classes)
	anyOf(sel, "cause", q.Causes)
	if q.Fingerprint != "" {
		sel.Where("fingerprint = ?", q.Fingerprint)
	}
	if !q.Since.IsZero() {
		sel.Where("last_seen >= ?", database.Micros(q.Since))
	}
	if err := database.NewestFirst(sel, from, "first_seen").Scan(ctx); err != nil {
		return nil, "", st.db.Explain(ctx, err)
	}
	rows, next := database.Cut(rows, limit, func(r incidentRow) database.Cursor {
		return database.Cursor{List: "incidents", Num: r.FirstSeen, ID: r.ID}
	})
	list := make([]*recovery.Incident, len(rows))
	for i, r := range rows {
		if list[i], err = r.incident(); err != nil {
			return nil, "", st.db.Explain(ctx, err)
		}
	}
	return list, next, nil
}

func anyOf[T ~string](q *bun.SelectQuery, column string, values []T) {
	if len(values) > 0 {
		q.Where("? IN (?)", bun.Ident(column), bun.List(values))
	}
}

// Patterns gives the fingerprints that came back, the most frequent first.
func (st *Incidents) Patterns(ctx context.Context, agentIDs []string, least int, since time.Time, limit int) ([]recovery.Pattern, error) {
	var rows []struct {
		Fingerprint string
		Incidents   int
		Count       int
		FirstSeen   int64
		LastSeen    int64
	}
	q := st.db.Handle(ctx).NewSelect().Table("incidents").
		ColumnExpr("fingerprint, COUNT(*) AS incidents, SUM(count) AS count, MIN(first_seen) AS first_seen, MAX(last_seen) AS last_seen").
		Where("last_seen >= ?", database.Micros(since)).GroupExpr("fingerprint").Having("COUNT(*) >= ?", least).
		OrderExpr("COUNT(*) DESC, MAX(last_seen) DESC, fingerprint").Limit(int64(database.Bounded(limit)))
	anyOf(q, "agent_id", agentIDs)
	if err := q.Scan(ctx, &rows); err != nil {
		return nil, st.db.Explain(ctx, err)
	}
	out := make([]recovery.Pattern, 0, len(rows))
	for _, r := range rows {
		list, _, err := st.Incidents(ctx, recovery.Query{Fingerprint: r.Fingerprint, Limit: 1})
		if err != nil {
			return nil, err
		}
		if len(list) == 0 {
			continue
		}
		out = append(out, recovery.Pattern{
			Fingerprint: r.Fingerprint, AgentID: list[0].AgentID, Class: list[0].Class, Cause: list[0].Cause, Title: list[0].Title,
			Incidents: r.Incidents, Count: r.Count, FirstSeen: database.Moment(r.FirstSeen), LastSeen: database.Moment(r.LastSeen),
		})
	}
	return out, nil
}

// PruneIncidents removes those that ended before then.
func (st *Incidents) PruneIncidents(ctx context.Context, before time.Time) (int, error) {
	return st.db.Batches(ctx, func(ctx context.Context, db bun.IDB) (int64, error) {
		return database.Affected(db.NewRaw("DELETE FROM incidents WHERE id IN (SELECT id FROM incidents WHERE state IN (?) AND last_seen < ? LIMIT ?)",
			bun.List([]string{string(recovery.Recovered), string(recovery.Dismissed)}), database.Micros(before), database.PruneBatch).Exec(ctx))
	})
}

type stateRow struct {
	bun.BaseModel `bun:"table:recovery_state"`

	Name  string `bun:"name,pk"`
	Value string
}

func (st *Incidents) get(ctx context.Context, name string) (string, error) {
	var row stateRow
	err := st.db.Handle(ctx).NewSelect().Model(&row).Where("name = ?", name).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return row.Value, st.db.Explain(ctx, err)
}

func (st *Incidents) put(ctx context.Context, name, value string) error {
	return st.db.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		_, err := db.NewInsert().Model(&stateRow{Name: name, Value: value}).On("CONFLICT (name) DO UPDATE").Set("value = EXCLUDED.value").Exec(ctx)
		return err
	})
}

// Cursor is the last event that was looked at; -1 if there never was one.
func (st *Incidents) Cursor(ctx context.Context) (int64, error) {
	text, err := st.get(ctx, "cursor")
	if err != nil || text == "" {
		return -1, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, st.db.Explain(ctx, err)
}

// SetCursor stores it.
func (st *Incidents) SetCursor(ctx context.Context, seq int64) error {
	return st.put(ctx, "cursor", strconv.FormatInt(seq, 10))
}

// Policies gives what is stored; nil if nothing is.
func (st *Incidents) Policies(ctx context.Context) (*recovery.Policies, error) {
	text, err := st.get(ctx, "policies")
	if err != nil {
		return nil, err
	}
	p, err := database.DecodeOptional[recovery.Policies](text)
	return p, st.db.Explain(ctx, err)
}

// SetPolicies stores them.
func (st *Incidents) SetPolicies(ctx context.Context, p recovery.Policies) error {
	text, err := database.Encode(p)
	if err != nil {
		return st.db.Explain(ctx, err)
	}
	return st.put(ctx, "policies", text)
}

type outcomeRow struct {
	bun.BaseModel `bun:"table:fix_outcomes"`

	Cause  string `bun:"cause,pk"`
	Fix    string `bun:"fix,pk"`
	Tried  int
	Helped int
}

// Outcomes gives how fixes did.
func (st *Incidents) Outcomes(ctx context.Context) ([]recovery.Outcome, error) {
	var rows []outcomeRow
	if err := st.db.Handle(ctx).NewSelect().Model(&rows).Order("cause", "fix").Scan(ctx); err != nil {
		return nil, st.db.Explain(ctx, err)
	}
	out := make([]recovery.Outcome, len(rows))
	for i, r := range rows {
		out[i] = recovery.Outcome{Cause: cause.Code(r.Cause), Fix: cause.Fix(r.Fix), Tried: r.Tried, Helped: r.Helped}
	}
	return out, nil
}

// AddOutcome counts one fix that was tried.
func (st *Incidents) AddOutcome(ctx context.Context, c cause.Code, f cause.Fix, helped bool) error {
	n := 0
	if helped {
		n = 1
	}
	return st.db.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		_, err := db.NewInsert().Model(&outcomeRow{Cause: string(c), Fix: string(f), Tried: 1, Helped: n}).
			On("CONFLICT (cause, fix) DO UPDATE").Set("tried = ?TableAlias.tried + 1").Set("helped = ?TableAlias.helped + EXCLUDED.helped").Exec(ctx)
		return err
	})
}

type goodRow struct {
	bun.BaseModel `bun:"table:good_revisions"`

	AgentID  string `bun:"agent_id,pk"`
	Revision int    `bun:"revision,pk"`
	At       int64
}

// GoodRevisions gives those of an agent that were seen to run well, newest first.
func (st *Incidents) GoodRevisions(ctx context.Context, agentID string) ([]int, error) {
	var rows []goodRow
	err := st.db.Handle(ctx).NewSelect().Model(&rows).Where("agent_id = ?", agentID).OrderExpr("revision DESC").Limit(100).Scan(ctx)
	out := make([]int, len(rows))
	for i, r := range rows {
		out[i] = r.Revision
	}
	return out, st.db.Explain(ctx, err)
}

// SetGood remembers or forgets that a revision ran well.
func (st *Incidents) SetGood(ctx context.Context, agentID string, revision int, good bool, at time.Time) error {
	return st.db.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		if !good {
			_, err := db.NewDelete().Model((*goodRow)(nil)).Where("agent_id = ? AND revision = ?", agentID, revision).Exec(ctx)
			return err
		}
		_, err := db.NewInsert().Model(&goodRow{AgentID: agentID, Revision: revision, At: database.Micros(at)}).
			On("CONFLICT (agent_id, revision) DO NOTHING").Exec(ctx)
		return database.OfAgent(agentID, err)
	})
}
