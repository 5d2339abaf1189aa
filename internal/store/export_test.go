package store

import (
	"context"
	"errors"

	"github.com/uptrace/bun"
)

// At opens the database of cfg with its schema brought up to a version alone,
// calls fn with it, and closes it. It gives the number of the latest version.
func At(ctx context.Context, cfg Config, version int64, fn func(db *bun.DB) error) (latest int64, err error) {
	db, err := connect(ctx, cfg)
	if err != nil {
		return 0, err
	}
	provider, err := db.Migrator()
	if err == nil {
		_, err = provider.UpTo(ctx, version)
	}
	if err == nil {
		_, latest, err = provider.GetVersions(ctx)
	}
	if err == nil {
		err = fn(Raw(&Store{DB: db}))
	}
	return latest, errors.Join(err, db.Close())
}

// Down takes the schema of the database back to nothing.
func Down(ctx context.Context, s *Store) error {
	provider, err := s.Migrator()
	if err == nil {
		_, err = provider.DownTo(ctx, 0)
	}
	return err
}

// Raw gives the connection that writes, to break things.
func Raw(s *Store) *bun.DB {
	write, _ := s.Pools()
	return write
}

// RawRead gives the connections that read.
func RawRead(s *Store) *bun.DB {
	_, read := s.Pools()
	return read
}
