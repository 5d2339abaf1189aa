package store

import (
	"context"
	"errors"

	"github.com/uptrace/bun"
)

// At opens the database of cfg with its schema brought up to a version alone,
// calls fn with it, and closes it. It gives the number of the latest version.
func At(ctx context.Context, cfg Config, version int64, fn func(db *bun.DB) error) (latest int64, err error) {
	s, err := connect(ctx, cfg)
	if err != nil {
		return 0, err
	}
	provider, err := s.migrator()
	if err == nil {
		_, err = provider.UpTo(ctx, version)
	}
	if err == nil {
		_, latest, err = provider.GetVersions(ctx)
	}
	if err == nil {
		err = fn(s.write)
	}
	return latest, errors.Join(err, s.closePools())
}

// Down takes the schema of the database back to nothing.
func Down(ctx context.Context, s *Store) error {
	provider, err := s.migrator()
	if err == nil {
		_, err = provider.DownTo(ctx, 0)
	}
	return err
}

// Raw gives the connection that writes, to break things.
func Raw(s *Store) *bun.DB { return s.write }

// RawRead gives the connections that read.
func RawRead(s *Store) *bun.DB { return s.read }

// Explain gives the fault for an error of a database.
func Explain(ctx context.Context, s *Store, err error) error { return s.explain(ctx, err) }

// Apart gives what is left of a statement without its values, and these.
func Apart(query string) (text string, values []any, ok bool) {
	text, named, ok := apart(query, nil)
	for _, v := range named {
		values = append(values, v.Value)
	}
	return text, values, ok
}

// Unusable says why a database file can't be opened.
var Unusable = unusable
