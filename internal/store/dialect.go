package store

import (
	"context"
	"strings"

	"github.com/pressly/goose/v3"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/dialect/sqlitedialect"
)

// backend is what the two databases do differently.
type backend interface {
	// words are the column types that migrations name in double braces.
	words() map[string]string
	// goose is the dialect of migrations, and migration what else they need.
	goose() goose.Dialect
	migration() ([]goose.ProviderOption, error)
	// begun is called when a transaction has begun.
	begun(ctx context.Context, db bun.IDB) error
	// find names the function that gives the place of a text in another.
	find() bun.Safe
	// remote tells whether the database is reached over a connection that may break.
	remote() bool
	// announce tells other processes, once the transaction is committed, that
	// the stream of events has grown.
	announce(ctx context.Context, db bun.IDB, seq int64) error
	// listen calls heard for what other processes may have announced, until ctx ends.
	listen(ctx context.Context, heard func())
}

// The dialects of bun refuse a text with a NUL in it. None means anything to
// the portal, but programs print them, so they are dropped here, in the one
// place that every text passes.

type sqliteText struct{ *sqlitedialect.Dialect }

func (d sqliteText) AppendString(b []byte, s string) []byte {
	return d.Dialect.AppendString(b, strings.ReplaceAll(s, "\x00", ""))
}

type postgresText struct{ *pgdialect.Dialect }

func (d postgresText) AppendString(b []byte, s string) []byte {
	return d.Dialect.AppendString(b, strings.ReplaceAll(s, "\x00", ""))
}
