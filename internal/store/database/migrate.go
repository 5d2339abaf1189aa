package database

import (
	"context"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/waooaw/platform-portal/internal/fault"
)

// Migrate brings the schema up to this version. It refuses a database that a
// newer portal has made, and does not touch it.
func (d *DB) Migrate(ctx context.Context) error {
	provider, err := d.Migrator()
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
		d.log.WarnContext(ctx, "migration of the database failed, looking again", "try", try+1, "error", last)
		pause(ctx, time.Duration(try+1)*100*time.Millisecond)
	}
	if classify(last) != unknown || ctx.Err() != nil {
		return d.Explain(ctx, last)
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

// Migrator reads the migrations for this database.
func (d *DB) Migrator() (*goose.Provider, error) {
	pairs := []string{}
	for word, is := range d.backend.words() {
		pairs = append(pairs, "{{"+word+"}}", is)
	}
	options, err := d.backend.migration()
	if err != nil {
		return nil, err
	}
	options = append(options, goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()),
		goose.WithTableName("schema_versions"))
	worded := wordedFS{d.migrations, strings.NewReplacer(pairs...)}
	return goose.NewProvider(d.backend.goose(), d.write.DB, worded, options...)
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
