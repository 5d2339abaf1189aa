package tsdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/prometheus/prometheus/tsdb"

	"github.com/waooaw/platform-portal/internal/fault"
)

// salvage opens files of which some may be damaged: what can't be read is moved
// into a folder beside them, so that the rest stays of use.
type salvage struct {
	dir string
	now func() time.Time
	log *slog.Logger
}

// blockName is what the folder of a finished block is called.
var blockName = regexp.MustCompile(`^[0-9A-HJKMNP-TV-Z]{26}$`)

// inMemory are what the newest samples are kept in, the most likely to be to
// blame first.
var inMemory = []string{"chunk_snapshot", "chunks_head", "wal", "wbl"}

// open opens, and puts aside what stands in the way.
func (s salvage) open(open func() (*tsdb.DB, error)) (*tsdb.DB, error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, s.unusable(err)
	}
	for _, b := range s.blocks() {
		if err := readable(filepath.Join(s.dir, b, "meta.json")); err != nil {
			s.aside(b, err)
		}
	}
	db, err := attempt(open)
	if err == nil {
		return db, nil
	}
	for _, b := range s.blocks() {
		if err := s.try(b); err != nil {
			s.aside(b, err)
		}
	}
	if db, again := attempt(open); again == nil {
		return db, nil
	}
	for _, part := range inMemory {
		found, _ := filepath.Glob(filepath.Join(s.dir, part+"*"))
		for _, path := range found {
			s.aside(filepath.Base(path), err)
		}
		if len(found) == 0 {
			continue
		}
		if db, again := attempt(open); again == nil {
			return db, nil
		}
	}
	return nil, s.unusable(err)
}

// attempt opens; a panic over what is in the files is an error like any other.
func attempt(open func() (*tsdb.DB, error)) (db *tsdb.DB, err error) {
	defer func() {
		if r := recover(); r != nil {
			db, err = nil, fmt.Errorf("what the files hold makes no sense: %v", r)
		}
	}()
	return open()
}

func (s salvage) blocks() []string {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() && blockName.MatchString(e.Name()) {
			out = append(out, e.Name())
		}
	}
	return out
}

// try opens one block alone.
func (s salvage) try(name string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("what it holds makes no sense: %v", r)
		}
	}()
	b, err := tsdb.OpenBlock(slog.New(slog.DiscardHandler), filepath.Join(s.dir, name), nil, nil)
	if err != nil {
		return err
	}
	return b.Close()
}

// readable tells whether a file is JSON.
func readable(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !json.Valid(data) {
		return errors.New("meta.json is damaged")
	}
	return nil
}

// aside moves a part away and says so.
func (s salvage) aside(name string, why error) {
	to := filepath.Join(s.dir+".damaged", s.now().UTC().Format("20060102T150405")+"-"+name)
	err := os.MkdirAll(filepath.Dir(to), 0o700)
	if err == nil {
		err = os.Rename(filepath.Join(s.dir, name), to)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Error("damaged time series can't be put aside", "part", name, "err", err)
		return
	}
	s.log.Error("damaged time series were put aside; the rest is kept", "part", name, "err", why, "moved_to", to,
		"remedy", "restore the part from a backup while the portal is stopped, or delete it")
}

func (s salvage) unusable(err error) error {
	return fault.New(fault.Unavailable, "metrics.files", "The files of the time series in %s can't be used", s.dir).
		Because("%v", err).Do("Check the folder's owner and the free space, or move it away; then start the portal again.").Wrap(err)
}

// quiet passes on what the storage warns of, and the rest as debug output: it
// tells of every step otherwise.
type quiet struct{ to slog.Handler }

// Enabled is for slog.
func (q quiet) Enabled(ctx context.Context, l slog.Level) bool {
	if l < slog.LevelWarn {
		l = slog.LevelDebug
	}
	return q.to.Enabled(ctx, l)
}

// Handle is for slog.
func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn {
		r.Level = slog.LevelDebug
	}
	r.Message = "time series: " + r.Message
	return q.to.Handle(ctx, r)
}

// WithAttrs is for slog.
func (q quiet) WithAttrs(a []slog.Attr) slog.Handler { return quiet{q.to.WithAttrs(a)} }

// WithGroup is for slog.
func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.to.WithGroup(name)} }
