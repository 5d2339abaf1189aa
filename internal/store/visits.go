package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
)

// links is auth.LinkStore.
type links struct{ s *Store }

type linkRow struct {
	bun.BaseModel `bun:"table:sign_in_links"`

	Hash      string `bun:"hash,pk"`
	Role      string
	ExpiresAt int64
}

type sessionRow struct {
	bun.BaseModel `bun:"table:sessions"`

	Hash      string `bun:"hash,pk"`
	Data      []byte
	ExpiresAt int64
}

// PutLink stores the hash of a one-time code.
func (st links) PutLink(ctx context.Context, hash string, role auth.Role, expires time.Time) error {
	row := linkRow{Hash: hash, Role: string(role), ExpiresAt: micros(expires)}
	return st.s.change(ctx, func(ctx context.Context, db bun.IDB) error {
		stored, err := affected(db.NewInsert().Model(&row).On("CONFLICT DO NOTHING").Exec(ctx))
		if err == nil && stored == 0 {
			return fault.New(fault.Conflict, "link.taken", "There is such a sign-in link already")
		}
		return err
	})
}

// TakeLink removes the link and gives its role.
func (st links) TakeLink(ctx context.Context, hash string, now time.Time) (auth.Role, error) {
	var role string
	err := st.s.change(ctx, func(ctx context.Context, db bun.IDB) error {
		err := db.NewRaw("DELETE FROM sign_in_links WHERE hash = ? AND expires_at > ? RETURNING role", hash, micros(now)).Scan(ctx, &role)
		if errors.Is(err, sql.ErrNoRows) {
			return fault.New(fault.NotFound, "link.not_found", "The sign-in link is not valid").
				Because("it was used, or its time is over").Do("Ask for a new one.")
		}
		return err
	})
	return auth.Role(role), err
}

// PutSession stores the data of a session in the place of what it had.
func (st links) PutSession(ctx context.Context, hash string, data []byte, expires time.Time) error {
	row := sessionRow{Hash: hash, Data: present(data), ExpiresAt: micros(expires)}
	return st.s.change(ctx, func(ctx context.Context, db bun.IDB) error {
		_, err := db.NewInsert().Model(&row).On("CONFLICT (hash) DO UPDATE").
			Set("data = EXCLUDED.data").Set("expires_at = EXCLUDED.expires_at").Exec(ctx)
		return err
	})
}

// present makes a value of nil, which a column may not be.
func present(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}

// Session gives the data of a session that has not ended.
func (st links) Session(ctx context.Context, hash string, now time.Time) ([]byte, error) {
	var row sessionRow
	err := st.s.db(ctx).NewSelect().Model(&row).Where("hash = ? AND expires_at > ?", hash, micros(now)).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fault.New(fault.NotFound, "session.not_found", "There is no such session").
			Because("it ended").Do("Sign in again.")
	}
	return row.Data, st.s.explain(ctx, err)
}

// DeleteSession ends a session; no error if there is none.
func (st links) DeleteSession(ctx context.Context, hash string) error {
	return st.s.change(ctx, func(ctx context.Context, db bun.IDB) error {
		_, err := db.NewDelete().Model((*sessionRow)(nil)).Where("hash = ?", hash).Exec(ctx)
		return err
	})
}

// Expire removes links and sessions that have ended at now.
func (st links) Expire(ctx context.Context, now time.Time) error {
	return st.s.change(ctx, func(ctx context.Context, db bun.IDB) error {
		for _, model := range []any{(*linkRow)(nil), (*sessionRow)(nil)} {
			if _, err := db.NewDelete().Model(model).Where("expires_at <= ?", micros(now)).Exec(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

// replays is auth.IdempotencyStore.
type replays struct{ s *Store }

type replayRow struct {
	bun.BaseModel `bun:"table:replays"`

	Principal string `bun:"principal,pk"`
	IdemKey   string `bun:"idem_key,pk"`
	Method    string
	Path      string
	BodyHash  string
	Status    int
	Header    string
	Body      []byte
	CreatedAt int64
}

// PutReplay stores the answer to a request.
func (st replays) PutReplay(ctx context.Context, r auth.Replay) error {
	header, err := encode(r.Header)
	if err != nil {
		return st.s.explain(ctx, err)
	}
	row := replayRow{
		Principal: r.Principal, IdemKey: r.Key, Method: r.Method, Path: r.Path, BodyHash: r.BodyHash,
		Status: r.Status, Header: header, Body: present(r.Body), CreatedAt: micros(r.CreatedAt),
	}
	return st.s.change(ctx, func(ctx context.Context, db bun.IDB) error {
		stored, err := affected(db.NewInsert().Model(&row).On("CONFLICT DO NOTHING").Exec(ctx))
		if err == nil && stored == 0 {
			return fault.New(fault.Conflict, "replay.taken", "A request with this Idempotency-Key was made already").
				Do("Use a new key for a new request.")
		}
		return err
	})
}

// Replay gives the answer to the request with the key.
func (st replays) Replay(ctx context.Context, principal, key string) (*auth.Replay, error) {
	var row replayRow
	err := st.s.db(ctx).NewSelect().Model(&row).Where("principal = ? AND idem_key = ?", principal, key).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fault.New(fault.NotFound, "replay.not_found", "No request was made with this Idempotency-Key")
	}
	if err != nil {
		return nil, st.s.explain(ctx, err)
	}
	r := &auth.Replay{
		Key: row.IdemKey, Principal: row.Principal, Method: row.Method, Path: row.Path, BodyHash: row.BodyHash,
		Status: row.Status, Body: row.Body, CreatedAt: moment(row.CreatedAt),
	}
	return r, st.s.explain(ctx, decode(row.Header, &r.Header))
}

// PruneReplays removes those made before.
func (st replays) PruneReplays(ctx context.Context, before time.Time) error {
	_, err := st.s.batches(ctx, func(ctx context.Context, db bun.IDB) (int64, error) {
		return affected(db.NewRaw("DELETE FROM replays WHERE (principal, idem_key) IN (SELECT principal, idem_key FROM replays WHERE created_at < ? LIMIT ?)",
			micros(before), pruneBatch).Exec(ctx))
	})
	return err
}
