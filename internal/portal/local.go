package portal

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/store"
)

// local is who acts when a command works on the data directory itself: whoever
// may read and write it.
func local(ctx context.Context) context.Context {
	return auth.With(ctx, auth.Principal{ID: "local", Name: "local command line", Role: auth.Admin, From: "local"})
}

// withStore opens the database beside a portal that may be serving from it.
func withStore(ctx context.Context, cfg Config, fn func(ctx context.Context, s *store.Store) error) error {
	if cfg.DatabaseURL == "" {
		if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
			return fault.New(fault.Unavailable, "data.unusable", "The data directory %s can't be made", cfg.Data).
				Because("%s", reasonOf(err)).Do("Choose another with --data, or correct its permissions.").Wrap(err)
		}
	}
	s, err := openStore(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer s.Close()
	return fn(local(ctx), s)
}

// CreateToken makes an API token in the configured store and gives its secret.
// A ttl of 0 means auth.DefaultTokenLife.
func CreateToken(ctx context.Context, cfg Config, name string, role auth.Role, ttl time.Duration) (secret string, err error) {
	err = withStore(ctx, cfg, func(ctx context.Context, s *store.Store) error {
		rec := &audit.Recorder{Store: s.Audit(), Now: now}
		svc := &auth.Service{Tokens: s.Tokens(), Links: s.Links(), Tx: s, Audit: rec, Events: s.Events(), Now: now, NewID: newID}
		secret, _, err = svc.CreateToken(ctx, name, role, ttl)
		return err
	})
	return secret, err
}

// VerifyAudit checks the chain of the audit log in the configured store, and
// that it holds the anchors.
func VerifyAudit(ctx context.Context, cfg Config, anchors ...audit.Anchor) (report audit.Report, err error) {
	err = withStore(ctx, cfg, func(ctx context.Context, s *store.Store) error {
		report, err = audit.Verify(ctx, s.Audit(), anchors...)
		return err
	})
	return report, err
}
