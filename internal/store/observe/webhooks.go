package observe

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/store/database"
	"github.com/waooaw/platform-portal/internal/webhook"
)

// Webhooks keeps subscriptions to events and what was sent to them. It is
// webhook.Store and webhook.Attempts.
type Webhooks struct{ DB *database.DB }

type webhookRow struct {
	bun.BaseModel `bun:"table:webhooks"`

	ID         string `bun:"id,pk"`
	Name       string // in lower case
	Definition string
	Progress   string
	Version    int
}

// definition is how the store writes what people said of a subscription.
type definition struct {
	Name         string     `json:"name"`
	URL          string     `json:"url"`
	Types        []string   `json:"types,omitempty"`
	Agents       []string   `json:"agents,omitempty"`
	Confidential bool       `json:"confidential,omitempty"`
	SecretRef    string     `json:"secret_ref,omitempty"`
	KeyNumber    int        `json:"key_number"`
	KeyUntil     *time.Time `json:"key_until,omitempty"`
	Enabled      bool       `json:"enabled"`
	CreatedBy    string     `json:"created_by"`
	CreatedAt    time.Time  `json:"created_at"`
	UpdatedAt    time.Time  `json:"updated_at"`
}

func webhookOf(s webhook.Subscription) (r webhookRow, err error) {
	r = webhookRow{ID: s.ID, Name: database.Fold(s.Name), Version: s.Version}
	if r.Progress, err = database.Encode(s.Progress); err != nil {
		return r, err
	}
	r.Definition, err = database.Encode(definition{
		Name: s.Name, URL: s.URL, Types: s.Types, Agents: s.Agents, Confidential: s.Confidential, SecretRef: s.SecretRef,
		KeyNumber: s.KeyNumber, KeyUntil: s.KeyUntil, Enabled: s.Enabled, CreatedBy: s.CreatedBy, CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt,
	})
	return r, err
}

func (r webhookRow) webhook() (*webhook.Subscription, error) {
	var d definition
	if err := database.Decode(r.Definition, &d); err != nil {
		return nil, err
	}
	s := &webhook.Subscription{
		ID: r.ID, Name: d.Name, URL: d.URL, Types: d.Types, Agents: d.Agents, Confidential: d.Confidential, SecretRef: d.SecretRef,
		KeyNumber: d.KeyNumber, KeyUntil: d.KeyUntil, Enabled: d.Enabled, CreatedBy: d.CreatedBy, CreatedAt: d.CreatedAt, UpdatedAt: d.UpdatedAt,
		Version: r.Version,
	}
	return s, database.Decode(r.Progress, &s.Progress)
}

func noWebhook() error {
	return fault.New(fault.NotFound, "webhook.not_found", "There is no such webhook").Do("GET /api/platform/webhooks lists them.")
}

func webhookTaken(name string) error {
	return fault.New(fault.Conflict, "webhook.taken", "There is a webhook named %q already", database.Clean(name)).
		Do("Choose another name.").At(fault.Field{Path: "name", Message: "is taken"})
}

// CreateWebhook stores a new one.
func (st Webhooks) CreateWebhook(ctx context.Context, s webhook.Subscription) error {
	row, err := webhookOf(s)
	if err != nil {
		return err
	}
	return st.DB.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		stored, err := database.Affected(db.NewInsert().Model(&row).On("CONFLICT DO NOTHING").Exec(ctx))
		if err == nil && stored == 0 {
			return webhookTaken(s.Name)
		}
		return err
	})
}

// Webhook finds by id or name.
func (st Webhooks) Webhook(ctx context.Context, ref string) (*webhook.Subscription, error) {
	var row webhookRow
	ref = database.Clean(ref)
	err := st.DB.Handle(ctx).NewSelect().Model(&row).Where("id = ? OR name = ?", ref, database.Fold(ref)).
		OrderExpr("CASE WHEN id = ? THEN 0 ELSE 1 END", ref).Limit(1).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, noWebhook()
	}
	if err != nil {
		return nil, st.DB.Explain(ctx, err)
	}
	return row.webhook()
}

// Webhooks lists all by name.
func (st Webhooks) Webhooks(ctx context.Context) ([]webhook.Subscription, error) {
	var rows []webhookRow
	if err := st.DB.Handle(ctx).NewSelect().Model(&rows).OrderExpr("name").Scan(ctx); err != nil {
		return nil, st.DB.Explain(ctx, err)
	}
	list := make([]webhook.Subscription, len(rows))
	for i, r := range rows {
		s, err := r.webhook()
		if err != nil {
			return nil, err
		}
		list[i] = *s
	}
	return list, nil
}

// UpdateWebhook replaces the definition.
func (st Webhooks) UpdateWebhook(ctx context.Context, s webhook.Subscription) error {
	row, err := webhookOf(s)
	if err != nil {
		return err
	}
	return st.DB.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		var before webhookRow
		err := db.NewSelect().Model(&before).Where("id = ?", s.ID).Scan(ctx)
		if errors.Is(err, sql.ErrNoRows) {
			return noWebhook()
		}
		if err != nil {
			return err
		}
		if before.Version != s.Version-1 {
			return fault.New(fault.Stale, "webhook.stale", "The webhook was changed by somebody else meanwhile").
				Do("Load it again, then repeat your change.")
		}
		others, err := db.NewSelect().Model((*webhookRow)(nil)).Where("name = ? AND id <> ?", row.Name, s.ID).Count(ctx)
		if err != nil {
			return err
		}
		if others > 0 {
			return webhookTaken(s.Name)
		}
		_, err = db.NewUpdate().Model(&row).Column("name", "definition", "version").WherePK().Exec(ctx)
		return err
	})
}

// DeleteWebhook removes one with its attempts.
func (st Webhooks) DeleteWebhook(ctx context.Context, id string) error {
	return st.DB.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		gone, err := database.Affected(db.NewDelete().Model((*webhookRow)(nil)).Where("id = ?", id).Exec(ctx))
		if err == nil && gone == 0 {
			return noWebhook()
		}
		return err
	})
}

// SaveProgress replaces the progress alone.
func (st Webhooks) SaveProgress(ctx context.Context, id string, p webhook.Progress) error {
	text, err := database.Encode(p)
	if err != nil {
		return err
	}
	return st.DB.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		found, err := database.Affected(db.NewUpdate().Model((*webhookRow)(nil)).Set("progress = ?", text).Where("id = ?", id).Exec(ctx))
		if err == nil && found == 0 {
			return noWebhook()
		}
		return err
	})
}

type attemptRow struct {
	bun.BaseModel `bun:"table:webhook_attempts"`

	ID        string `bun:"id,pk"`
	WebhookID string
	At        int64
	Data      string
}

func (r attemptRow) attempt() (*webhook.Attempt, error) {
	a := &webhook.Attempt{}
	return a, database.Decode(r.Data, a)
}

// AddAttempt stores one and removes the oldest over keep.
func (st Webhooks) AddAttempt(ctx context.Context, a webhook.Attempt, keep int) error {
	row := attemptRow{ID: a.ID, WebhookID: a.WebhookID, At: database.Micros(a.At)}
	var err error
	if row.Data, err = database.Encode(a); err != nil {
		return err
	}
	return st.DB.Change(ctx, func(ctx context.Context, db bun.IDB) error {
		if _, err := db.NewInsert().Model(&row).Exec(ctx); err != nil {
			if database.IsOrphan(err) {
				return noWebhook()
			}
			return err
		}
		_, err := db.NewRaw(`DELETE FROM webhook_attempts WHERE id IN
			(SELECT id FROM webhook_attempts WHERE webhook_id = ? ORDER BY at DESC, id DESC LIMIT 1000 OFFSET ?)`, a.WebhookID, keep).Exec(ctx)
		return err
	})
}

// Attempt gives one of a subscription.
func (st Webhooks) Attempt(ctx context.Context, webhookID, id string) (*webhook.Attempt, error) {
	var row attemptRow
	err := st.DB.Handle(ctx).NewSelect().Model(&row).Where("id = ? AND webhook_id = ?", database.Clean(id), webhookID).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fault.New(fault.NotFound, "webhook.attempt_not_found", "There is no such delivery").
			Because("the last ones alone are remembered").Do("Look at the list of deliveries.")
	}
	if err != nil {
		return nil, st.DB.Explain(ctx, err)
	}
	return row.attempt()
}

// Attempts lists those of a subscription, newest first.
func (st Webhooks) Attempts(ctx context.Context, webhookID, after string, limit int) ([]webhook.Attempt, string, error) {
	name := "webhook/" + webhookID
	from, err := database.ParseCursor(name, after)
	if err != nil {
		return nil, "", err
	}
	limit = database.Bounded(limit)
	var rows []attemptRow
	q := st.DB.Handle(ctx).NewSelect().Model(&rows).Where("webhook_id = ?", webhookID).Limit(int64(limit) + 1)
	if err := database.NewestFirst(q, from, "at").Scan(ctx); err != nil {
		return nil, "", st.DB.Explain(ctx, err)
	}
	rows, next := database.Cut(rows, limit, func(r attemptRow) database.Cursor {
		return database.Cursor{List: name, Num: r.At, ID: r.ID}
	})
	list := make([]webhook.Attempt, len(rows))
	for i, r := range rows {
		a, err := r.attempt()
		if err != nil {
			return nil, "", err
		}
		list[i] = *a
	}
	return list, next, nil
}
