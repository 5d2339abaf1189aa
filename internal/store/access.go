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

// tokens is auth.TokenStore.
type tokens struct{ s *Store }

type tokenRow struct {
	bun.BaseModel `bun:"table:tokens"`

	ID         string `bun:"id,pk"`
	Name       string
	Role       string
	Hash       string
	UserID     string
	CreatedBy  string
	CreatedAt  int64
	ExpiresAt  *int64
	LastUsedAt *int64
	RevokedAt  *int64
}

func (r tokenRow) token() auth.Token {
	return auth.Token{
		ID: r.ID, Name: r.Name, Role: auth.Role(r.Role), Hash: r.Hash, UserID: r.UserID, CreatedBy: r.CreatedBy, CreatedAt: database.Moment(r.CreatedAt),
		ExpiresAt: database.MomentOf(r.ExpiresAt), LastUsedAt: database.MomentOf(r.LastUsedAt), RevokedAt: database.MomentOf(r.RevokedAt),
	}
}

// CreateToken stores a new token.
func (st tokens) CreateToken(ctx context.Context, t auth.Token) error {
	row := tokenRow{
		ID: t.ID, Name: t.Name, Role: string(t.Role), Hash: t.Hash, UserID: t.UserID, CreatedBy: t.CreatedBy, CreatedAt: database.Micros(t.CreatedAt),
		ExpiresAt: database.MicrosOf(t.ExpiresAt), LastUsedAt: database.MicrosOf(t.LastUsedAt), RevokedAt: database.MicrosOf(t.RevokedAt),
	}
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		stored, err := database.Affected(db.NewInsert().Model(&row).On("CONFLICT DO NOTHING").Exec(ctx))
		if err == nil && stored == 0 {
			return fault.New(fault.Conflict, "token.taken", "There is a token named %q already", database.Clean(t.Name)).
				Do("Choose another name, or revoke the token that has it.")
		}
		return err
	})
}

// TokenByHash finds by the hash of the secret.
func (st tokens) TokenByHash(ctx context.Context, hash string) (*auth.Token, error) {
	return st.one(ctx, "hash = ?", hash)
}

// Token finds by id.
func (st tokens) Token(ctx context.Context, id string) (*auth.Token, error) {
	return st.one(ctx, "id = ?", id)
}

func (st tokens) one(ctx context.Context, where, value string) (*auth.Token, error) {
	var row tokenRow
	err := st.s.Handle(ctx).NewSelect().Model(&row).Where(where, value).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, noToken()
	}
	if err != nil {
		return nil, st.s.Explain(ctx, err)
	}
	t := row.token()
	return &t, nil
}

func noToken() error { return fault.New(fault.NotFound, "token.not_found", "There is no such token") }

// Tokens lists newest first; only those of the user if userID is not "".
func (st tokens) Tokens(ctx context.Context, userID, after string, limit int) ([]auth.Token, string, error) {
	from, err := database.ParseCursor("tokens", after)
	if err != nil {
		return nil, "", err
	}
	limit = database.Bounded(limit)
	var rows []tokenRow
	q := st.s.Handle(ctx).NewSelect().Model(&rows).Limit(int64(limit) + 1)
	if userID != "" {
		q = q.Where("user_id = ?", userID)
	}
	if err := database.NewestFirst(q, from, "created_at").Scan(ctx); err != nil {
		return nil, "", st.s.Explain(ctx, err)
	}
	rows, next := database.Cut(rows, limit, func(r tokenRow) database.Cursor { return database.Cursor{List: "tokens", Num: r.CreatedAt, ID: r.ID} })
	list := make([]auth.Token, len(rows))
	for i, r := range rows {
		list[i] = r.token()
	}
	return list, next, nil
}

// RevokeToken ends a token. One that was revoked before stays revoked since then.
func (st tokens) RevokeToken(ctx context.Context, id string, at time.Time) error {
	return st.set(ctx, id, "revoked_at = coalesce(revoked_at, ?)", at)
}

// TouchToken notes that a token was used.
func (st tokens) TouchToken(ctx context.Context, id string, at time.Time) error {
	return st.set(ctx, id, "last_used_at = ?", at)
}

func (st tokens) set(ctx context.Context, id, assignment string, at time.Time) error {
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		stored, err := database.Affected(db.NewUpdate().Model((*tokenRow)(nil)).Set(assignment, database.Micros(at)).Where("id = ?", id).Exec(ctx))
		if err == nil && stored == 0 {
			return noToken()
		}
		return err
	})
}

// credentials is auth.CredentialStore.
type credentials struct{ s *Store }

type credentialRow struct {
	bun.BaseModel `bun:"table:credentials"`

	AgentID   string `bun:"agent_id,pk"`
	Hash      string
	CreatedAt int64
}

// PutCredential stores the credential of an agent in the place of the one it had.
func (st credentials) PutCredential(ctx context.Context, c auth.Credential) error {
	row := credentialRow{AgentID: c.AgentID, Hash: c.Hash, CreatedAt: database.Micros(c.CreatedAt)}
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		_, err := db.NewInsert().Model(&row).On("CONFLICT (agent_id) DO UPDATE").
			Set("hash = EXCLUDED.hash").Set("created_at = EXCLUDED.created_at").Exec(ctx)
		return database.OfAgent(c.AgentID, err)
	})
}

// CredentialOf gives the credential of an agent.
func (st credentials) CredentialOf(ctx context.Context, agentID string) (*auth.Credential, error) {
	var row credentialRow
	err := st.s.Handle(ctx).NewSelect().Model(&row).Where("agent_id = ?", agentID).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fault.New(fault.NotFound, "credential.not_found", "The agent %q has no credential", database.Clean(agentID))
	}
	if err != nil {
		return nil, st.s.Explain(ctx, err)
	}
	return &auth.Credential{AgentID: row.AgentID, Hash: row.Hash, CreatedAt: database.Moment(row.CreatedAt)}, nil
}

// DeleteCredential removes it; no error if there is none.
func (st credentials) DeleteCredential(ctx context.Context, agentID string) error {
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		_, err := db.NewDelete().Model((*credentialRow)(nil)).Where("agent_id = ?", agentID).Exec(ctx)
		return err
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
	header, err := database.Encode(r.Header)
	if err != nil {
		return st.s.Explain(ctx, err)
	}
	row := replayRow{
		Principal: r.Principal, IdemKey: r.Key, Method: r.Method, Path: r.Path, BodyHash: r.BodyHash,
		Status: r.Status, Header: header, Body: database.Present(r.Body), CreatedAt: database.Micros(r.CreatedAt),
	}
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		stored, err := database.Affected(db.NewInsert().Model(&row).On("CONFLICT DO NOTHING").Exec(ctx))
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
	err := st.s.Handle(ctx).NewSelect().Model(&row).Where("principal = ? AND idem_key = ?", principal, key).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fault.New(fault.NotFound, "replay.not_found", "No request was made with this Idempotency-Key")
	}
	if err != nil {
		return nil, st.s.Explain(ctx, err)
	}
	r := &auth.Replay{
		Key: row.IdemKey, Principal: row.Principal, Method: row.Method, Path: row.Path, BodyHash: row.BodyHash,
		Status: row.Status, Body: row.Body, CreatedAt: database.Moment(row.CreatedAt),
	}
	return r, st.s.Explain(ctx, database.Decode(row.Header, &r.Header))
}

// PruneReplays removes those made before.
func (st replays) PruneReplays(ctx context.Context, before time.Time) error {
	_, err := st.s.Batches(ctx, func(ctx context.Context, db bun.IDB) (int64, error) {
		return database.Affected(db.NewRaw("DELETE FROM replays WHERE (principal, idem_key) IN (SELECT principal, idem_key FROM replays WHERE created_at < ? LIMIT ?)",
			database.Micros(before), database.PruneBatch).Exec(ctx))
	})
	return err
}
