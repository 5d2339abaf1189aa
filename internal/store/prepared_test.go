package store_test

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/uptrace/bun"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/store"
	"github.com/waooaw/platform-portal/internal/store/storetest"
)

// FuzzValues writes values into statements, and has SQLite read what it makes
// of them by itself and with the values taken out.
func FuzzValues(f *testing.F) {
	for _, text := range []string{"", "'", "''", "it's", "a';b", "?", "X'00'", "-- x", "\x00", "\xff", "é 7", `"`, "\\'"} {
		f.Add(text, int64(len(text)))
	}
	f.Add("", int64(math.MinInt64))
	f.Add("", int64(math.MaxInt64))
	db := store.RawRead(storetest.New(f))
	f.Fuzz(func(t *testing.T, text string, n int64) {
		var got, want struct {
			A, B string
			N, M int64
			D    []byte
		}
		const query = "SELECT ? AS a, ? AS n, ? AS d, 5-? AS m, ? AS b"
		for query, into := range map[string]any{query: &got, "/**/" + query: &want} {
			if err := db.NewRaw(query, text, n, []byte(text), n%10, text+"'").Scan(t.Context(), into); err != nil {
				t.Fatal(err)
			}
		}
		if !reflect.DeepEqual(got, want) || want.N != n {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	})
}

// TestKeptStatements runs more kinds of statements than are kept, each in the
// middle of another one of its kind, and changes a table below them.
func TestKeptStatements(t *testing.T) {
	ctx, s := t.Context(), storetest.New(t)
	fill(t, s, 3)
	err := store.Raw(s).RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		for i := range 600 {
			query := fmt.Sprintf("SELECT id AS c%d FROM agents WHERE tier > 0 ORDER BY id", i%300)
			outer, err := tx.QueryContext(ctx, query)
			if err != nil {
				return err
			}
			ids := []string{}
			for outer.Next() {
				var id string
				if err := outer.Scan(&id); err != nil {
					return err
				}
				ids = append(ids, id)
				var inner []string
				if err := tx.NewRaw(query).Scan(ctx, &inner); err != nil || len(inner) != 3 {
					return fmt.Errorf("inner statement gave %v: %w", inner, err)
				}
			}
			if err := outer.Close(); err != nil {
				return err
			}
			if !slices.Equal(ids, []string{"id-agent-00000", "id-agent-00001", "id-agent-00002"}) {
				return fmt.Errorf("statement %d gave %v", i, ids)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range []string{"", "ALTER TABLE agents ADD COLUMN more TEXT", "CREATE INDEX more ON agents (more)"} {
		if _, err := store.Raw(s).ExecContext(ctx, change); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if page, err := s.Agents().Find(ctx, agent.Query{}); err != nil || page.Total != 3 {
				t.Fatalf("%d agents, %v", page.Total, err)
			}
			a, err := s.Agents().Get(ctx, "agent-00001")
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Agents().Save(ctx, a); err != nil {
				t.Fatal(err)
			}
		}
	}
}
