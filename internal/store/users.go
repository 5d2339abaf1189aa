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

// users is auth.UserStore.
type users struct{ s *Store }

type userRow struct {
	bun.BaseModel `bun:"table:users"`

	ID         string `bun:"id,pk"`
	Email      string
	Name       string
	Provider   string
	Subject    string
	Role       string
	Claims     string
	Password   string
	CreatedAt  int64
	LastSeenAt *int64
	DisabledAt *int64
}

func rowOfUser(u auth.User) (userRow, error) {
	claims := ""
	if len(u.Claims) > 0 {
		var err error
		if claims, err = database.Encode(u.Claims); err != nil {
			return userRow{}, err
		}
	}
	return userRow{
		ID: u.ID, Email: database.Clean(u.Email), Name: database.Clean(u.Name), Provider: database.Clean(u.Provider), Subject: database.Clean(u.Subject), Role: string(u.Role),
		Claims: claims, Password: u.Password, CreatedAt: database.Micros(u.CreatedAt), LastSeenAt: database.MicrosOf(u.LastSeenAt), DisabledAt: database.MicrosOf(u.DisabledAt),
	}, nil
}

func (r userRow) user() (auth.User, error) {
	u := auth.User{
		ID: r.ID, Email: r.Email, Name: r.Name, Provider: r.Provider, Subject: r.Subject, Role: auth.Role(r.Role), Password: r.Password,
		CreatedAt: database.Moment(r.CreatedAt), LastSeenAt: database.MomentOf(r.LastSeenAt), DisabledAt: database.MomentOf(r.DisabledAt),
	}
	if r.Claims == "" {
		return u, nil
	}
	return u, database.Decode(r.Claims, &u.Claims)
}

func noUser() error { return fault.New(fault.NotFound, "user.not_found", "There is no such user") }

func takenUser(u auth.User) error {
	return fault.New(fault.Conflict, "user.taken", "There is a user %s already", database.Clean(u.Email)).
		Because("each person has one account with a provider").At(fault.Field{Path: "email", Message: "is taken"})
}

// CreateUser stores a new user.
func (st users) CreateUser(ctx context.Context, u auth.User) error {
	row, err := rowOfUser(u)
	if err != nil {
		return st.s.Explain(ctx, err)
	}
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		stored, err := database.Affected(db.NewInsert().Model(&row).On("CONFLICT DO NOTHING").Exec(ctx))
		if err == nil && stored == 0 {
			return takenUser(u)
		}
		return err
	})
}

// User finds by id.
func (st users) User(ctx context.Context, id string) (*auth.User, error) {
	return st.one(ctx, "id = ?", id)
}

// UserBySubject finds by how the provider names the person.
func (st users) UserBySubject(ctx context.Context, provider, subject string) (*auth.User, error) {
	return st.one(ctx, "provider = ? AND subject = ? AND subject <> ''", database.Clean(provider), database.Clean(subject))
}

// InvitedUser finds somebody who has not signed in yet by the e-mail.
func (st users) InvitedUser(ctx context.Context, provider, email string) (*auth.User, error) {
	return st.one(ctx, "provider = ? AND email = ? AND subject = ''", database.Clean(provider), database.Clean(email))
}

func (st users) one(ctx context.Context, where string, values ...any) (*auth.User, error) {
	var row userRow
	err := st.s.Handle(ctx).NewSelect().Model(&row).Where(where, values...).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, noUser()
	}
	if err != nil {
		return nil, st.s.Explain(ctx, err)
	}
	u, err := row.user()
	if err != nil {
		return nil, st.s.Explain(ctx, err)
	}
	return &u, nil
}

// Users lists newest first.
func (st users) Users(ctx context.Context, after string, limit int) ([]auth.User, string, error) {
	from, err := database.ParseCursor("users", after)
	if err != nil {
		return nil, "", err
	}
	limit = database.Bounded(limit)
	var rows []userRow
	q := st.s.Handle(ctx).NewSelect().Model(&rows).Limit(int64(limit) + 1)
	if err := database.NewestFirst(q, from, "created_at").Scan(ctx); err != nil {
		return nil, "", st.s.Explain(ctx, err)
	}
	rows, next := database.Cut(rows, limit, func(r userRow) database.Cursor { return database.Cursor{List: "users", Num: r.CreatedAt, ID: r.ID} })
	list := make([]auth.User, len(rows))
	for i, r := range rows {
		if list[i], err = r.user(); err != nil {
			return nil, "", st.s.Explain(ctx, err)
		}
	}
	return list, next, nil
}

// UpdateUser replaces what a user is.
func (st users) UpdateUser(ctx context.Context, u auth.User) error {
	row, err := rowOfUser(u)
	if err != nil {
		return st.s.Explain(ctx, err)
	}
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		n, err := database.Affected(db.NewUpdate().Model(&row).ExcludeColumn("id", "created_at", "last_seen_at").WherePK().Exec(ctx))
		switch {
		case database.IsTaken(err):
			return takenUser(u)
		case err == nil && n == 0:
			return noUser()
		}
		return err
	})
}

// TouchUser notes that the user was here.
func (st users) TouchUser(ctx context.Context, id string, at time.Time) error {
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		n, err := database.Affected(db.NewUpdate().Model((*userRow)(nil)).Set("last_seen_at = ?", database.Micros(at)).Where("id = ?", id).Exec(ctx))
		if err == nil && n == 0 {
			return noUser()
		}
		return err
	})
}

// DeleteUser removes a user with everything that gives them access, and what
// is remembered of them.
func (st users) DeleteUser(ctx context.Context, id string) error {
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		for _, model := range []any{(*sessionRow)(nil), (*tokenRow)(nil), (*linkRow)(nil), (*passkeyRow)(nil)} {
			if _, err := db.NewDelete().Model(model).Where("user_id = ? AND user_id <> ''", id).Exec(ctx); err != nil {
				return err
			}
		}
		if _, err := db.NewDelete().Model((*preferenceRow)(nil)).Where("owner = ?", auth.User{ID: id}.Key()).Exec(ctx); err != nil {
			return err
		}
		n, err := database.Affected(db.NewDelete().Model((*userRow)(nil)).Where("id = ?", id).Exec(ctx))
		if err == nil && n == 0 {
			return noUser()
		}
		return err
	})
}

// passkeys is auth.PasskeyStore.
type passkeys struct{ s *Store }

type passkeyRow struct {
	bun.BaseModel `bun:"table:passkeys"`

	ID             string `bun:"id,pk"`
	UserID         string
	Name           string
	PublicKey      []byte
	SignCount      int64
	Transports     string
	AAGUID         string `bun:"aaguid"`
	Attestation    string
	BackupEligible bool
	BackedUp       bool
	CreatedAt      int64
	LastUsedAt     *int64
}

func (r passkeyRow) passkey() (auth.Passkey, error) {
	k := auth.Passkey{
		ID: r.ID, UserID: r.UserID, Name: r.Name, PublicKey: r.PublicKey, SignCount: uint32(r.SignCount), //nolint:gosec // it was stored from one
		AAGUID: r.AAGUID, Attestation: r.Attestation, BackupEligible: r.BackupEligible, BackedUp: r.BackedUp,
		CreatedAt: database.Moment(r.CreatedAt), LastUsedAt: database.MomentOf(r.LastUsedAt),
	}
	return k, database.Decode(r.Transports, &k.Transports)
}

func noPasskey() error {
	return fault.New(fault.NotFound, "passkey.not_found", "There is no such passkey")
}

// CreatePasskey stores a new passkey.
func (st passkeys) CreatePasskey(ctx context.Context, k auth.Passkey) error {
	transports, err := database.Encode(k.Transports)
	if err != nil {
		return st.s.Explain(ctx, err)
	}
	row := passkeyRow{
		ID: database.Clean(k.ID), UserID: k.UserID, Name: database.Clean(k.Name), PublicKey: database.Present(k.PublicKey), SignCount: int64(k.SignCount),
		Transports: transports, AAGUID: database.Clean(k.AAGUID), Attestation: database.Clean(k.Attestation), BackupEligible: k.BackupEligible, BackedUp: k.BackedUp,
		CreatedAt: database.Micros(k.CreatedAt), LastUsedAt: database.MicrosOf(k.LastUsedAt),
	}
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		stored, err := database.Affected(db.NewInsert().Model(&row).On("CONFLICT DO NOTHING").Exec(ctx))
		if err == nil && stored == 0 {
			return fault.New(fault.Conflict, "passkey.taken", "This passkey is here already")
		}
		return err
	})
}

// Passkey finds by id.
func (st passkeys) Passkey(ctx context.Context, id string) (*auth.Passkey, error) {
	list, err := st.find(ctx, "id", id)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, noPasskey()
	}
	return &list[0], nil
}

// PasskeysOf lists those of a user, oldest first.
func (st passkeys) PasskeysOf(ctx context.Context, userID string) ([]auth.Passkey, error) {
	return st.find(ctx, "user_id", userID)
}

func (st passkeys) find(ctx context.Context, column, value string) ([]auth.Passkey, error) {
	var rows []passkeyRow
	err := st.s.Handle(ctx).NewSelect().Model(&rows).Where("? = ?", bun.Ident(column), database.Clean(value)).Order("created_at", "id").Scan(ctx)
	if err != nil {
		return nil, st.s.Explain(ctx, err)
	}
	list := make([]auth.Passkey, len(rows))
	for i, r := range rows {
		if list[i], err = r.passkey(); err != nil {
			return nil, st.s.Explain(ctx, err)
		}
	}
	return list, nil
}

// UsePasskey notes a use.
func (st passkeys) UsePasskey(ctx context.Context, id string, signCount uint32, backedUp bool, at time.Time) error {
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		n, err := database.Affected(db.NewUpdate().Model((*passkeyRow)(nil)).Set("sign_count = ?", int64(signCount)).Set("backed_up = ?", backedUp).
			Set("last_used_at = ?", database.Micros(at)).Where("id = ?", id).Exec(ctx))
		if err == nil && n == 0 {
			return noPasskey()
		}
		return err
	})
}

// DeletePasskey removes a passkey.
func (st passkeys) DeletePasskey(ctx context.Context, id string) error {
	return st.s.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		n, err := database.Affected(db.NewDelete().Model((*passkeyRow)(nil)).Where("id = ?", id).Exec(ctx))
		if err == nil && n == 0 {
			return noPasskey()
		}
		return err
	})
}
