package memory

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the driver
)

const schema = `
CREATE TABLE IF NOT EXISTS items (
	id         INTEGER PRIMARY KEY AUTOINCREMENT,
	namespace  TEXT NOT NULL,
	kind       TEXT NOT NULL,
	text       TEXT NOT NULL,
	tags       TEXT NOT NULL,             -- JSON array, sorted
	created_at INTEGER NOT NULL,          -- Unix milliseconds
	expires_at INTEGER,                   -- Unix milliseconds, or never
	same       BLOB NOT NULL              -- hash of the normal text
);
CREATE INDEX IF NOT EXISTS items_recent  ON items (namespace, created_at DESC);
CREATE INDEX IF NOT EXISTS items_same    ON items (namespace, kind, same);
CREATE INDEX IF NOT EXISTS items_expires ON items (expires_at) WHERE expires_at IS NOT NULL;
CREATE VIRTUAL TABLE IF NOT EXISTS item_words USING fts5 (
	text, tags, content='items', content_rowid='id', tokenize='porter unicode61 remove_diacritics 2'
);
CREATE TRIGGER IF NOT EXISTS items_insert AFTER INSERT ON items BEGIN
	INSERT INTO item_words (rowid, text, tags) VALUES (new.id, new.text, new.tags);
END;
CREATE TRIGGER IF NOT EXISTS items_delete AFTER DELETE ON items BEGIN
	INSERT INTO item_words (item_words, rowid, text, tags) VALUES ('delete', old.id, old.text, old.tags);
END;
CREATE TRIGGER IF NOT EXISTS items_update AFTER UPDATE OF text, tags ON items BEGIN
	INSERT INTO item_words (item_words, rowid, text, tags) VALUES ('delete', old.id, old.text, old.tags);
	INSERT INTO item_words (rowid, text, tags) VALUES (new.id, new.text, new.tags);
END;
INSERT INTO item_words (item_words, rank) VALUES ('secure-delete', 1);`

// Settings of a Store; they may change between calls.
type Settings struct {
	DefaultTTL time.Duration // of short memories
	MaxItems   int
	MaxText    int           // bytes, at most MaxText
	DefaultK   int           // results of a recall
	HalfLife   time.Duration // after which a memory counts half as much for being old
}

// Store keeps memories in one SQLite file. Several processes may use the same
// file. It is safe for concurrent use, and what a call has stored survives a
// crash of the process and of the machine.
type Store struct {
	db       *sql.DB
	path     string
	settings func() Settings
	now      func() time.Time
}

// Open opens or makes the file. settings is asked at each call; now may be nil.
func Open(ctx context.Context, path string, settings func() Settings, now func() time.Time) (*Store, error) {
	if now == nil {
		now = time.Now
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open the memory: %w", err)
	}
	query := url.Values{"_txlock": {"immediate"}, "_pragma": {
		"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "secure_delete(ON)", "trusted_schema(OFF)",
	}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: query.Encode()}).String())
	if err != nil {
		return nil, fmt.Errorf("open the memory: %w", err)
	}
	db.SetMaxOpenConns(4)
	s := &Store{db: db, path: path, settings: settings, now: now}
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, errors.Join(fmt.Errorf("open the memory in %s: %w", path, err), db.Close())
	}
	return s, nil
}

// Close closes the file.
func (s *Store) Close() error { return s.db.Close() }

// transact runs fn in a transaction that begins with the write lock.
func (s *Store) transact(ctx context.Context, fn func(tx *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := fn(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// Store remembers something. What is remembered already with the same text,
// tags, kind and namespace is renewed instead. InvalidError, ErrFull.
func (s *Store) Store(ctx context.Context, r StoreRequest) (Item, error) {
	item, err := s.check(r)
	if err != nil {
		return Item{}, err
	}
	tags, err := json.Marshal(item.Tags)
	if err != nil {
		return Item{}, err
	}
	err = s.transact(ctx, func(tx *sql.Tx) error {
		now := s.now().UnixMilli()
		if _, err := tx.ExecContext(ctx, `DELETE FROM items WHERE expires_at <= ?`, now); err != nil {
			return err
		}
		hash := same(item.Text)
		err := tx.QueryRowContext(ctx, `UPDATE items SET created_at = ?, expires_at = ?
			WHERE id = (SELECT id FROM items WHERE namespace = ? AND kind = ? AND same = ? AND text = ? AND tags = ? LIMIT 1)
			RETURNING id`, now, millis(item.ExpiresAt), item.Namespace, item.Kind, hash, item.Text, string(tags)).Scan(&item.ID)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		var n int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM items`).Scan(&n); err != nil {
			return err
		}
		if n >= s.settings().MaxItems {
			return ErrFull
		}
		return tx.QueryRowContext(ctx, `INSERT INTO items (namespace, kind, text, tags, created_at, expires_at, same)
			VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id`,
			item.Namespace, item.Kind, item.Text, string(tags), now, millis(item.ExpiresAt), hash).Scan(&item.ID)
	})
	return item, err
}

func (s *Store) check(r StoreRequest) (item Item, err error) {
	set := s.settings()
	item.Text, item.CreatedAt = r.Text, s.now().UTC().Truncate(time.Millisecond)
	if err := checkText("text", r.Text, min(set.MaxText, MaxText)); err != nil {
		return item, err
	}
	if strings.TrimSpace(r.Text) == "" {
		return item, invalid("text", "there is nothing in it")
	}
	if item.Kind, err = checkKind(r.Kind, Long); err != nil {
		return item, err
	}
	if item.Namespace, err = checkNamespace(r.Namespace); err != nil {
		return item, err
	}
	if item.Tags, err = checkTags(r.Tags); err != nil {
		return item, err
	}
	if item.Tags == nil {
		item.Tags = []string{}
	}
	ttl := time.Duration(0)
	switch {
	case r.TTL != "":
		if ttl, err = time.ParseDuration(r.TTL); err != nil || ttl < time.Second || ttl > MaxTTL {
			return item, invalid("ttl", `a time span from "1s" to %q is accepted`, MaxTTL)
		}
	case item.Kind == Short:
		ttl = set.DefaultTTL
	}
	if ttl > 0 {
		item.ExpiresAt = item.CreatedAt.Add(ttl)
	}
	return item, nil
}

func same(text string) []byte {
	sum := sha256.Sum256([]byte(normal(text)))
	return sum[:16]
}

func millis(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMilli()
}

// Get gives one item; ErrNotFound.
func (s *Store) Get(ctx context.Context, id int64) (Item, error) {
	items, err := s.query(ctx, `SELECT `+columns+`, 0 FROM items i WHERE i.id = ? AND (i.expires_at IS NULL OR i.expires_at > ?)`,
		id, s.now().UnixMilli())
	if err != nil {
		return Item{}, err
	}
	if len(items) == 0 {
		return Item{}, ErrNotFound
	}
	return items[0], nil
}

const columns = `i.id, i.namespace, i.kind, i.text, i.tags, i.created_at, i.expires_at`

func (s *Store) query(ctx context.Context, q string, args ...any) ([]Item, error) {
	rows, err := s.db.QueryContext(ctx, q, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	items := []Item{}
	for rows.Next() {
		var (
			it      Item
			tags    string
			created int64
			expires sql.NullInt64
		)
		if err := rows.Scan(&it.ID, &it.Namespace, &it.Kind, &it.Text, &tags, &created, &expires, &it.Score); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(tags), &it.Tags); err != nil {
			return nil, fmt.Errorf("tags of memory %d: %w", it.ID, err)
		}
		it.CreatedAt = time.UnixMilli(created).UTC()
		if expires.Valid {
			it.ExpiresAt = time.UnixMilli(expires.Int64).UTC()
		}
		items = append(items, it)
	}
	return items, rows.Err()
}
