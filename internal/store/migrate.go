package store

import (
	"context"
	"embed"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/waooaw/platform-portal/internal/fault"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the schema up to this version. It refuses a database that a
// newer portal has made, and does not touch it.
func (s *Store) migrate(ctx context.Context) error {
	provider, err := s.migrator()
	if err != nil {
		return err
	}
	var last error
	// Another process may be doing the same to the same file; whoever loses
	// that race finds the work done when it looks again.
	for try := range 5 {
		current, target, err := provider.GetVersions(ctx)
		switch {
		case err != nil:
			last = err
		case current > target:
			return newer(current, target)
		case current == target:
			return nil
		default:
			_, last = provider.Up(ctx)
		}
		if last == nil {
			return nil
		}
		if kind := classify(last); kind == full || kind == damaged || kind == sealed || ctx.Err() != nil {
			break
		}
		s.log.WarnContext(ctx, "migration of the database failed, looking again", "try", try+1, "error", last)
		pause(ctx, time.Duration(try+1)*100*time.Millisecond)
	}
	if classify(last) != unknown || ctx.Err() != nil {
		return s.explain(ctx, last)
	}
	return fault.New(fault.Internal, "store.migration_failed", "The database could not be brought up to this version").
		Because("a migration failed; it was rolled back").
		Do("Go on with the version before, and report the error in the log.").Wrap(last)
}

func newer(current, target int64) error {
	return fault.New(fault.Conflict, "store.newer", "The database was made by a newer version of the portal").
		Because("its schema has number %d and this version knows up to %d", current, target).
		Do("Start the newer version, or restore a backup from before the upgrade. Nothing was changed.")
}

// migrator reads the migrations for this database.
func (s *Store) migrator() (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	pairs := []string{}
	for word, is := range s.backend.words() {
		pairs = append(pairs, "{{"+word+"}}", is)
	}
	options, err := s.backend.migration()
	if err != nil {
		return nil, err
	}
	options = append(options, goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()),
		goose.WithTableName("schema_versions"))
	worded := wordedFS{files, strings.NewReplacer(pairs...)}
	return goose.NewProvider(s.backend.goose(), s.write.DB, worded, options...)
}

// pause waits, at most until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// wordedFS replaces words in the files that it opens.
type wordedFS struct {
	fs.FS
	words *strings.Replacer
}

// Open opens a file with its words replaced.
func (w wordedFS) Open(name string) (fs.File, error) {
	file, err := w.FS.Open(name)
	if err != nil || !strings.HasSuffix(name, ".sql") {
		return file, err
	}
	data, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	return wordedFile{file, strings.NewReader(w.words.Replace(string(data)))}, nil
}

type wordedFile struct {
	fs.File
	text *strings.Reader
}

// Read reads the replaced text.
func (f wordedFile) Read(p []byte) (int, error) { return f.text.Read(p) }
