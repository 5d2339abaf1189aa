package store

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/uptrace/bun"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/store/database"
)

// walkBatch is how many entries are read at once on a walk.
const walkBatch = 500

// auditLog is audit.Store.
type auditLog struct{ s *Store }

type entryRow struct {
	bun.BaseModel `bun:"table:audit_entries"`

	Seq     int64 `bun:"seq,pk"`
	At      int64
	Actor   string
	Role    string
	Origin  string
	Action  string
	Target  string
	Outcome string
	Reason  string
	Request string
	Before  string
	After   string
	Prev    string
	Hash    string
}

func (r entryRow) entry() audit.Entry {
	return audit.Entry{
		Seq: r.Seq, At: database.Moment(r.At), Actor: r.Actor, Role: r.Role, From: r.Origin, Action: r.Action, Target: r.Target,
		Outcome: audit.Outcome(r.Outcome), Reason: r.Reason, Request: r.Request,
		Before: database.Raw(r.Before), After: database.Raw(r.After), Prev: r.Prev, Hash: r.Hash,
	}
}

// storable gives the entry exactly as it will be read again, for that is what
// must be hashed.
func (st auditLog) storable(e audit.Entry) audit.Entry {
	if e.At.IsZero() {
		e.At = st.s.Now()
	}
	e.At = database.Moment(database.Micros(e.At))
	for _, text := range []*string{&e.Actor, &e.Role, &e.From, &e.Action, &e.Target, (*string)(&e.Outcome), &e.Reason, &e.Request} {
		*text = database.Clean(*text)
	}
	for _, data := range []*json.RawMessage{&e.Before, &e.After} {
		*data = database.Raw(database.Clean(string(*data)))
	}
	return e
}

// Append numbers, links, hashes and stores the entries.
func (st auditLog) Append(ctx context.Context, entries ...audit.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		// The update holds the head against other writers until the commit.
		var head int64
		var hash string
		err := db.NewRaw("UPDATE audit_head SET seq = seq + ? WHERE id = 1 RETURNING seq, hash", len(entries)).Scan(ctx, &head, &hash)
		if err != nil {
			return err
		}
		rows := make([]entryRow, len(entries))
		for i, e := range entries {
			e = st.storable(e)
			e.Seq, e.Prev = head-int64(len(entries)-1-i), hash
			e.Hash = audit.HashOf(e)
			hash = e.Hash
			rows[i] = entryRow{
				Seq: e.Seq, At: database.Micros(e.At), Actor: e.Actor, Role: e.Role, Origin: e.From, Action: e.Action, Target: e.Target,
				Outcome: string(e.Outcome), Reason: e.Reason, Request: e.Request, Before: string(e.Before), After: string(e.After),
				Prev: e.Prev, Hash: e.Hash,
			}
		}
		if _, err := db.NewInsert().Model(&rows).Exec(ctx); err != nil {
			return err
		}
		_, err = db.NewRaw("UPDATE audit_head SET hash = ? WHERE id = 1", hash).Exec(ctx)
		return err
	})
}

// Find lists newest first.
func (st auditLog) Find(ctx context.Context, q audit.Query) ([]audit.Entry, string, error) {
	after, err := database.ParseCursor("audit", q.Cursor)
	if err != nil {
		return nil, "", err
	}
	limit := database.Bounded(q.Limit)
	var rows []entryRow
	sel := st.s.Handle(ctx).NewSelect().Model(&rows).Order("seq DESC").Limit(int64(limit) + 1)
	if after != nil {
		sel.Where("seq < ?", after.Num)
	}
	st.filter(sel, q)
	if err := sel.Scan(ctx); err != nil {
		return nil, "", st.s.Explain(ctx, err)
	}
	rows, next := database.Cut(rows, limit, func(r entryRow) database.Cursor { return database.Cursor{List: "audit", Num: r.Seq} })
	list := make([]audit.Entry, len(rows))
	for i, r := range rows {
		list[i] = r.entry()
	}
	return list, next, nil
}

// filter adds the conditions of the query.
func (st auditLog) filter(sel *bun.SelectQuery, q audit.Query) {
	if q.Actor != "" {
		sel.Where("actor = ?", q.Actor)
	}
	if q.Outcome != "" {
		sel.Where("outcome = ?", string(q.Outcome))
	}
	if q.Action != "" {
		matchAny(sel, "action", q.Action)
	}
	if q.Target != "" {
		matchAny(sel, "target", q.Target)
	}
	if len(q.Targets) > 0 {
		matchAny(sel, "target", q.Targets...)
	}
	if !q.Since.IsZero() {
		sel.Where("at >= ?", database.Micros(q.Since))
	}
	if !q.Until.IsZero() {
		sel.Where("at < ?", database.Micros(q.Until))
	}
	if q.Search != "" {
		contains(sel, st.s.Find(), q.Search, "action", "target", "reason", "before", "after")
	}
}

// contains takes rows in which any of the columns holds the text, in any case.
func contains(sel *bun.SelectQuery, find bun.Safe, text string, columns ...string) {
	words, asWritten := database.Fold(text), database.Clean(text)
	sel.WhereGroup(" AND ", func(g *bun.SelectQuery) *bun.SelectQuery {
		for _, column := range columns {
			g.WhereOr("?(lower(?), ?) > 0", find, bun.Ident(column), words)
			if asWritten != words {
				// SQLite's lower knows the letters of ASCII alone.
				g.WhereOr("?(?, ?) > 0", find, bun.Ident(column), asWritten)
			}
		}
		return g
	})
}

// matchAny takes rows whose column is one of the patterns; one that ends in "*"
// stands for all that begin so.
func matchAny(sel *bun.SelectQuery, column string, patterns ...string) {
	sel.WhereGroup(" AND ", func(g *bun.SelectQuery) *bun.SelectQuery {
		for _, pattern := range patterns {
			prefix, open := strings.CutSuffix(pattern, "*")
			if open {
				// Columns of this kind are sorted by bytes, and nothing comes after the last rune.
				g.WhereOr("? >= ? AND ? < ?", bun.Ident(column), prefix, bun.Ident(column), prefix+"\U0010FFFF")
			} else {
				g.WhereOr("? = ?", bun.Ident(column), pattern)
			}
		}
		return g
	})
}

// Walk calls fn with each entry from seq on, oldest first. Nothing is held
// open meanwhile, so fn may take its time and use the store.
func (st auditLog) Walk(ctx context.Context, from int64, fn func(audit.Entry) error) error {
	for {
		var rows []entryRow
		err := st.s.Handle(ctx).NewSelect().Model(&rows).Where("seq >= ?", from).Order("seq").Limit(walkBatch).Scan(ctx)
		if err != nil {
			return st.s.Explain(ctx, err)
		}
		for _, r := range rows {
			if err := fn(r.entry()); err != nil {
				return err
			}
		}
		if len(rows) < walkBatch {
			return nil
		}
		from = rows[len(rows)-1].Seq + 1
	}
}

// Head gives the number and hash that the chain should end with.
func (st auditLog) Head(ctx context.Context) (seq int64, hash string, err error) {
	err = st.s.Handle(ctx).NewRaw("SELECT seq, hash FROM audit_head WHERE id = 1").Scan(ctx, &seq, &hash)
	return seq, hash, st.s.Explain(ctx, err)
}
