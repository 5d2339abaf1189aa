package memory

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"
)

// candidates are what the index gives for each result, to be ranked anew.
const candidates = 10

// Recall gives what fits the query best. It ranks by how rare the words that
// are found are (BM25), and by age: a memory counts half as much for being old
// after each half-life, but never less than half in all. InvalidError.
func (s *Store) Recall(ctx context.Context, r RecallRequest) ([]Item, error) {
	set := s.settings()
	where, args, err := s.filter(&r, set)
	if err != nil {
		return nil, err
	}
	if r.Query == "" {
		return s.query(ctx, `SELECT `+columns+`, 0 FROM items i WHERE `+where+
			` ORDER BY i.created_at DESC, i.id DESC LIMIT ?`, append(args, r.K)...)
	}
	expression := match(r.Query, "OR")
	if expression == "" {
		return []Item{}, nil
	}
	args = append([]any{expression}, args...)
	items, err := s.query(ctx, `SELECT `+columns+`, -bm25(item_words, 1.0, 2.0) AS score
		FROM item_words JOIN items i ON i.id = item_words.rowid
		WHERE item_words MATCH ? AND `+where+` ORDER BY score DESC LIMIT ?`, append(args, r.K*candidates)...)
	if err != nil {
		return nil, err
	}
	now := s.now()
	for i := range items {
		items[i].Score = rank(items[i].Score, now.Sub(items[i].CreatedAt), set.HalfLife)
	}
	slices.SortStableFunc(items, func(a, b Item) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(b.ID, a.ID))
	})
	return items[:min(r.K, len(items))], nil
}

// rank weighs relevance by age. With very few memories BM25 gives all but no
// relevance, so a little is added to leave the order to the age.
func rank(relevance float64, age, halfLife time.Duration) float64 {
	if halfLife <= 0 {
		return relevance
	}
	fresh := math.Exp2(-max(age, 0).Seconds() / halfLife.Seconds())
	return (max(relevance, 0) + 1e-6) * (0.5 + 0.5*fresh)
}

// filter checks the request, fills what it leaves open, and gives the
// conditions that every result meets.
func (s *Store) filter(r *RecallRequest, set Settings) (where string, args []any, err error) {
	if err := checkText("query", r.Query, MaxQuery); err != nil {
		return "", nil, err
	}
	if r.K == 0 {
		r.K = set.DefaultK
	}
	if r.K < 1 || r.K > MaxResults {
		return "", nil, invalid("k", "from 1 to %d is accepted", MaxResults)
	}
	if r.Kind, err = checkKind(r.Kind, ""); err != nil {
		return "", nil, err
	}
	if r.Namespace, err = checkNamespace(r.Namespace); err != nil {
		return "", nil, err
	}
	tags, err := checkTags(r.Tags)
	if err != nil {
		return "", nil, err
	}
	where, args = `i.namespace = ? AND (i.expires_at IS NULL OR i.expires_at > ?)`, []any{r.Namespace, s.now().UnixMilli()}
	if r.Kind != "" {
		where, args = where+` AND i.kind = ?`, append(args, r.Kind)
	}
	for _, tag := range tags {
		where, args = where+` AND EXISTS (SELECT 1 FROM json_each(i.tags) t WHERE t.value = ?)`, append(args, tag)
	}
	return where, args, nil
}
