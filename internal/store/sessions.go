package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/store/database"
)

// links is auth.LinkStore.
type links struct{ s *Store }

type linkRow struct {
	bun.BaseModel `bun:"table:sign_in_links"`

	Hash      string `bun:"hash,pk"`
	Role      string
	UserID    string
	ExpiresAt int64
}

// PutLink stores the hash of a one-time code.
func (st links) PutLink(ctx context.Context, hash string, l auth.Link, expires time.Time) error {
	row := linkRow{Hash: hash, Role: string(l.Role), UserID: l.UserID, ExpiresAt: database.Micros(expires)}
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		stored, err := database.Affected(db.NewInsert().Model(&row).On("CONFLICT DO NOTHING").Exec(ctx))
		if err == nil && stored == 0 {
			return fault.New(fault.Conflict, "link.taken", "There is such a sign-in link already")
		}
		return err
	})
}

// TakeLink removes the link and says what it gives.
func (st links) TakeLink(ctx context.Context, hash string, now time.Time) (auth.Link, error) {
	var row linkRow
	err := st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		err := db.NewRaw("DELETE FROM sign_in_links WHERE hash = ? AND expires_at > ? RETURNING role, user_id", hash, database.Micros(now)).
			Scan(ctx, &row.Role, &row.UserID)
		if errors.Is(err, sql.ErrNoRows) {
			return fault.New(fault.NotFound, "link.not_found", "The sign-in link is not valid").
				Because("it was used, or its time is over").Do("Ask for a new one.")
		}
		return err
	})
	return auth.Link{Role: auth.Role(row.Role), UserID: row.UserID}, err
}

// Expire removes what has ended at now.
func (st links) Expire(ctx context.Context, now time.Time) error {
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		for _, model := range []any{(*linkRow)(nil), (*sessionRow)(nil), (*flowRow)(nil), (*failureRow)(nil)} {
			if _, err := db.NewDelete().Model(model).Where("expires_at <= ?", database.Micros(now)).Exec(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// sessions is auth.SessionStore.
type sessions struct{ s *Store }

type sessionRow struct {
	bun.BaseModel `bun:"table:sessions"`

	ID            string `bun:"id,pk"`
	UserID        string
	Kind          string
	Method        string
	Role          string
	Hash          string
	Previous      string
	PreviousUntil *int64
	Address       string
	UserAgent     string
	CreatedAt     int64
	SeenAt        int64
	RotatedAt     int64
	ExpiresAt     int64
}

func rowOfSession(d auth.Session) sessionRow {
	return sessionRow{
		ID: d.ID, UserID: d.UserID, Kind: string(d.Kind), Method: database.Clean(d.Method), Role: string(d.Role), Hash: d.Hash, Previous: d.Previous,
		PreviousUntil: database.MicrosOf(d.PreviousUntil), Address: database.Clean(d.Address), UserAgent: database.Clean(d.UserAgent),
		CreatedAt: database.Micros(d.CreatedAt), SeenAt: database.Micros(d.SeenAt), RotatedAt: database.Micros(d.RotatedAt), ExpiresAt: database.Micros(d.ExpiresAt),
	}
}

func (r sessionRow) session() auth.Session {
	return auth.Session{
		ID: r.ID, UserID: r.UserID, Kind: auth.Kind(r.Kind), Method: r.Method, Role: auth.Role(r.Role), Hash: r.Hash, Previous: r.Previous,
		PreviousUntil: database.MomentOf(r.PreviousUntil), Address: r.Address, UserAgent: r.UserAgent,
		CreatedAt: database.Moment(r.CreatedAt), SeenAt: database.Moment(r.SeenAt), RotatedAt: database.Moment(r.RotatedAt), ExpiresAt: database.Moment(r.ExpiresAt),
	}
}

func noSession() error {
	return fault.New(fault.NotFound, "session.not_found", "There is no such session").Because("it ended").Do("Sign in again.")
}

// CreateSession stores a new session.
func (st sessions) CreateSession(ctx context.Context, d auth.Session) error {
	row := rowOfSession(d)
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		_, err := db.NewInsert().Model(&row).Exec(ctx)
		return err
	})
}

// Session finds by id.
func (st sessions) Session(ctx context.Context, id string) (*auth.Session, error) {
	return st.one(ctx, "id = ?", id)
}

// SessionByHash finds by the present secret or the one before.
func (st sessions) SessionByHash(ctx context.Context, hash string) (*auth.Session, error) {
	return st.one(ctx, "hash = ? OR (previous = ? AND previous <> '')", hash, hash)
}

func (st sessions) one(ctx context.Context, where string, values ...any) (*auth.Session, error) {
	var row sessionRow
	err := st.s.Handle(ctx).NewSelect().Model(&row).Where(where, values...).Limit(1).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, noSession()
	}
	if err != nil {
		return nil, st.s.Explain(ctx, err)
	}
	d := row.session()
	return &d, nil
}

// SessionsOf lists those of a user, the last used first.
func (st sessions) SessionsOf(ctx context.Context, userID string) ([]auth.Session, error) {
	var rows []sessionRow
	err := st.s.Handle(ctx).NewSelect().Model(&rows).Where("user_id = ?", userID).Order("seen_at DESC", "id DESC").Limit(database.MaxLimit).Scan(ctx)
	if err != nil {
		return nil, st.s.Explain(ctx, err)
	}
	list := make([]auth.Session, len(rows))
	for i, r := range rows {
		list[i] = r.session()
	}
	return list, nil
}

// UpdateSession replaces what a session is.
func (st sessions) UpdateSession(ctx context.Context, d auth.Session) error {
	row := rowOfSession(d)
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		n, err := database.Affected(db.NewUpdate().Model(&row).ExcludeColumn("id", "user_id", "created_at").WherePK().Exec(ctx))
		if err == nil && n == 0 {
			return noSession()
		}
		return err
	})
}

// TouchSession notes that it was used.
func (st sessions) TouchSession(ctx context.Context, id string, seen, expires time.Time) error {
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		n, err := database.Affected(db.NewUpdate().Model((*sessionRow)(nil)).Set("seen_at = ?", database.Micros(seen)).Set("expires_at = ?", database.Micros(expires)).
			Where("id = ?", id).Exec(ctx))
		if err == nil && n == 0 {
			return noSession()
		}
		return err
	})
}

// DeleteSession ends a session; no error if there is none.
func (st sessions) DeleteSession(ctx context.Context, id string) error {
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		_, err := db.NewDelete().Model((*sessionRow)(nil)).Where("id = ?", id).Exec(ctx)
		return err
	})
}

// DeleteSessionsOf ends the sessions of a user but one.
func (st sessions) DeleteSessionsOf(ctx context.Context, userID, except string) (n int, err error) {
	err = st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		gone, err := database.Affected(db.NewDelete().Model((*sessionRow)(nil)).Where("user_id = ? AND id <> ?", userID, except).Exec(ctx))
		n = int(gone)
		return err
	})
	return n, err
}

// flows is auth.FlowStore.
type flows struct{ s *Store }

type flowRow struct {
	bun.BaseModel `bun:"table:flows"`

	Hash      string `bun:"hash,pk"`
	Kind      string
	Data      []byte
	ExpiresAt int64
}

// PutFlow stores what is to be remembered.
func (st flows) PutFlow(ctx context.Context, kind, hash string, data []byte, expires time.Time) error {
	row := flowRow{Hash: hash, Kind: database.Clean(kind), Data: database.Present(data), ExpiresAt: database.Micros(expires)}
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		_, err := db.NewInsert().Model(&row).Exec(ctx)
		return err
	})
}

// TakeFlow removes it and gives its data.
func (st flows) TakeFlow(ctx context.Context, kind, hash string, now time.Time) (data []byte, err error) {
	err = st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		err := db.NewRaw("DELETE FROM flows WHERE hash = ? AND kind = ? AND expires_at > ? RETURNING data", hash, database.Clean(kind), database.Micros(now)).Scan(ctx, &data)
		if errors.Is(err, sql.ErrNoRows) {
			return fault.New(fault.NotFound, "flow.not_found", "There is nothing to continue").Because("it was continued, or its time is over")
		}
		return err
	})
	return data, err
}

// attempts is auth.AttemptStore.
type attempts struct{ s *Store }

type failureRow struct {
	bun.BaseModel `bun:"table:sign_in_attempts"`

	Attempt   string `bun:"attempt,pk"`
	Failures  int
	LastAt    int64
	ExpiresAt int64
}

// Attempts gives how many there were and when the last one was.
func (st attempts) Attempts(ctx context.Context, key string) (int, time.Time, error) {
	var row failureRow
	err := st.s.Handle(ctx).NewSelect().Model(&row).Where("attempt = ?", database.Clean(key)).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, time.Time{}, nil
	}
	if err != nil {
		return 0, time.Time{}, st.s.Explain(ctx, err)
	}
	return row.Failures, database.Moment(row.LastAt), nil
}

// PutAttempts stores that.
func (st attempts) PutAttempts(ctx context.Context, key string, n int, last, expires time.Time) error {
	row := failureRow{Attempt: database.Clean(key), Failures: n, LastAt: database.Micros(last), ExpiresAt: database.Micros(expires)}
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		_, err := db.NewInsert().Model(&row).On("CONFLICT (attempt) DO UPDATE").Set("failures = EXCLUDED.failures").
			Set("last_at = EXCLUDED.last_at").Set("expires_at = EXCLUDED.expires_at").Exec(ctx)
		return err
	})
}

// DropAttempts forgets them.
func (st attempts) DropAttempts(ctx context.Context, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		_, err := db.NewDelete().Model((*failureRow)(nil)).Where("attempt IN (?)", bun.List(keys)).Exec(ctx)
		return err
	})
}
