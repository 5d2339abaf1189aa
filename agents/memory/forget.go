package memory

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
)

const maxIDs = 1000

// Forget deletes and tells how many items there were. What is deleted is also
// overwritten in the file. InvalidError.
func (s *Store) Forget(ctx context.Context, r ForgetRequest) (int, error) {
	namespace, err := checkNamespace(r.Namespace)
	if err != nil {
		return 0, err
	}
	if err := checkText("query", r.Query, MaxQuery); err != nil {
		return 0, err
	}
	ways := 0
	for _, given := range []bool{len(r.IDs) > 0, r.Query != "", r.All} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return 0, invalid("ids", "say what to forget by exactly one of ids, query and all")
	}
	if r.Namespace == "" && len(r.IDs) == 0 {
		return 0, invalid("namespace", "it is needed to forget by query or all")
	}
	if len(r.IDs) > maxIDs {
		return 0, invalid("ids", "there are %d; %d at most are accepted", len(r.IDs), maxIDs)
	}
	switch {
	case r.All:
		return s.remove(ctx, `namespace = ?`, namespace)
	case r.Query != "":
		expression := match(r.Query, "AND")
		if expression == "" {
			return 0, invalid("query", "there is no word in it")
		}
		return s.remove(ctx, `namespace = ? AND id IN (SELECT rowid FROM item_words WHERE item_words MATCH ?)`, namespace, expression)
	}
	ids, err := json.Marshal(r.IDs)
	if err != nil {
		return 0, err
	}
	return s.remove(ctx, `id IN (SELECT value FROM json_each(?))`, string(ids))
}

func (s *Store) remove(ctx context.Context, where string, args ...any) (n int, err error) {
	err = s.transact(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `DELETE FROM items WHERE `+where, args...)
		if err != nil {
			return err
		}
		count, err := res.RowsAffected()
		n = int(count)
		return err
	})
	return n, err
}

// Compact deletes what has expired, merges items that say the same (but for
// case and spaces) into the newest of them, which gets the tags of all and the
// latest expiry, and gives unused room in the file back.
func (s *Store) Compact(ctx context.Context) (Compaction, error) {
	c := Compaction{BytesBefore: s.size()}
	err := s.transact(ctx, func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `DELETE FROM items WHERE expires_at <= ?`, s.now().UnixMilli())
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return err
		}
		c.Expired = int(n)
		if c.Merged, err = merge(ctx, tx); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO item_words (item_words) VALUES ('optimize')`); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, `SELECT count(*) FROM items`).Scan(&c.Items)
	})
	if err != nil {
		return c, err
	}
	for _, statement := range []string{`VACUUM`, `PRAGMA wal_checkpoint(TRUNCATE)`} {
		if _, err := s.db.ExecContext(ctx, statement); err != nil {
			return c, fmt.Errorf("give unused room back: %w", err)
		}
	}
	c.BytesAfter = s.size()
	return c, nil
}

// twin is one of several items that say the same.
type twin struct {
	id      int64
	group   string
	tags    []string
	expires sql.NullInt64
}

func merge(ctx context.Context, tx *sql.Tx) (merged int, err error) {
	twins, err := findTwins(ctx, tx)
	if err != nil {
		return 0, err
	}
	for start := 0; start < len(twins); {
		end := start + 1
		for end < len(twins) && twins[end].group == twins[start].group {
			end++
		}
		if err := mergeGroup(ctx, tx, twins[start:end]); err != nil {
			return 0, err
		}
		merged += end - start - 1
		start = end
	}
	return merged, nil
}

func findTwins(ctx context.Context, tx *sql.Tx) ([]twin, error) {
	rows, err := tx.QueryContext(ctx, `SELECT i.id, json_array(i.namespace, i.kind, hex(i.same)), i.tags, i.expires_at FROM items i
		JOIN (SELECT namespace, kind, same FROM items GROUP BY 1, 2, 3 HAVING count(*) > 1) g
		ON g.namespace = i.namespace AND g.kind = i.kind AND g.same = i.same
		ORDER BY i.namespace, i.kind, i.same, i.created_at DESC, i.id DESC`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var twins []twin
	for rows.Next() {
		var t twin
		var tags string
		if err := rows.Scan(&t.id, &t.group, &tags, &t.expires); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(tags), &t.tags); err != nil {
			return nil, err
		}
		twins = append(twins, t)
	}
	return twins, rows.Err()
}

// mergeGroup merges into the first, which is the newest.
func mergeGroup(ctx context.Context, tx *sql.Tx, group []twin) error {
	kept := group[0]
	for _, t := range group[1:] {
		kept.tags = append(kept.tags, t.tags...)
		if !t.expires.Valid || kept.expires.Valid && t.expires.Int64 > kept.expires.Int64 {
			kept.expires = t.expires
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM items WHERE id = ?`, t.id); err != nil {
			return err
		}
	}
	slices.Sort(kept.tags)
	kept.tags = slices.Compact(kept.tags)
	tags, err := json.Marshal(kept.tags[:min(len(kept.tags), MaxTags)])
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE items SET tags = ?, expires_at = ? WHERE id = ?`, string(tags), kept.expires, kept.id)
	return err
}

// Stats counts what is remembered; of the namespaces the 100 largest.
func (s *Store) Stats(ctx context.Context) (Stats, error) {
	st := Stats{Namespaces: map[string]int{}, Bytes: s.size(), MaxItems: s.settings().MaxItems}
	now := s.now().UnixMilli()
	err := s.db.QueryRowContext(ctx, `SELECT count(*) FILTER (WHERE live), count(*) FILTER (WHERE live AND kind = 'short'),
		count(*) FILTER (WHERE live AND kind = 'long'), count(*) FILTER (WHERE NOT live)
		FROM (SELECT kind, expires_at IS NULL OR expires_at > ? AS live FROM items)`, now).
		Scan(&st.Items, &st.Short, &st.Long, &st.Expired)
	if err != nil {
		return st, err
	}
	rows, err := s.db.QueryContext(ctx, `SELECT namespace, count(*) FROM items
		WHERE expires_at IS NULL OR expires_at > ? GROUP BY 1 ORDER BY 2 DESC LIMIT 100`, now)
	if err != nil {
		return st, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var n int
		if err := rows.Scan(&name, &n); err != nil {
			return st, err
		}
		st.Namespaces[name] = n
	}
	return st, rows.Err()
}

// size is the number of bytes on disk.
func (s *Store) size() (n int64) {
	for _, suffix := range []string{"", "-wal"} {
		info, err := os.Stat(s.path + suffix)
		if err == nil {
			n += info.Size()
		} else if !errors.Is(err, os.ErrNotExist) {
			return 0
		}
	}
	return n
}
