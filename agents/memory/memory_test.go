package memory_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/waooaw/platform-portal/agents/memory"
)

// clock is set by hand.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func defaults() memory.Settings {
	return memory.Settings{DefaultTTL: time.Hour, MaxItems: 1000, MaxText: memory.MaxText, DefaultK: 10, HalfLife: 7 * 24 * time.Hour}
}

func open(t testing.TB, path string, set memory.Settings, c *clock) *memory.Store {
	t.Helper()
	s, err := memory.Open(context.Background(), path, func() memory.Settings { return set }, c.now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func fresh(t testing.TB) (*memory.Store, *clock) {
	t.Helper()
	c := &clock{t: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)}
	return open(t, filepath.Join(t.TempDir(), "dir with ?&#", "memory.db"), defaults(), c), c
}

func store(t testing.TB, s *memory.Store, r memory.StoreRequest) memory.Item {
	t.Helper()
	it, err := s.Store(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return it
}

func recall(t testing.TB, s *memory.Store, r memory.RecallRequest) []string {
	t.Helper()
	items, err := s.Recall(t.Context(), r)
	if err != nil {
		t.Fatalf("%+v: %v", r, err)
	}
	texts := []string{}
	for _, it := range items {
		texts = append(texts, it.Text)
	}
	return texts
}

func want(t testing.TB, got []string, texts ...string) {
	t.Helper()
	if !slices.Equal(got, texts) && len(got)+len(texts) > 0 {
		t.Fatalf("got %q, want %q", got, texts)
	}
}

func TestRecallFindsByWordsAndRanks(t *testing.T) {
	s, c := fresh(t)
	for _, text := range []string{"Paris is the capital of France", "Berlin is the capital of Germany", "The cat sleeps", "Ünïcode Çafé"} {
		store(t, s, memory.StoreRequest{Text: text})
	}
	want(t, recall(t, s, memory.RecallRequest{Query: "what is the capital of germany?"})[:1], "Berlin is the capital of Germany")
	want(t, recall(t, s, memory.RecallRequest{Query: "capitals Germany"})[:1], "Berlin is the capital of Germany")
	want(t, recall(t, s, memory.RecallRequest{Query: "unicode CAFE"}), "Ünïcode Çafé")
	want(t, recall(t, s, memory.RecallRequest{Query: "dog"}))
	want(t, recall(t, s, memory.RecallRequest{Query: "!?"}))
	want(t, recall(t, s, memory.RecallRequest{Query: "capital", K: 1}), "Berlin is the capital of Germany")

	c.add(time.Minute)
	store(t, s, memory.StoreRequest{Text: "newest"})
	want(t, recall(t, s, memory.RecallRequest{K: 1}), "newest")

	// Of two that fit alike, the newer comes first; one that fits much better does not lose to age.
	store(t, s, memory.StoreRequest{Text: "meeting with Ada about engines", Namespace: "n"})
	c.add(30 * 24 * time.Hour)
	store(t, s, memory.StoreRequest{Text: "meeting with Bob about engines", Namespace: "n"})
	store(t, s, memory.StoreRequest{Text: "lunch", Namespace: "n"})
	want(t, recall(t, s, memory.RecallRequest{Query: "meeting about engines", Namespace: "n"}),
		"meeting with Bob about engines", "meeting with Ada about engines")
	want(t, recall(t, s, memory.RecallRequest{Query: "Ada meeting", Namespace: "n"})[:1], "meeting with Ada about engines")
}

func TestNamespacesKindsAndTagsAreKeptApart(t *testing.T) {
	s, _ := fresh(t)
	store(t, s, memory.StoreRequest{Text: "blue one", Namespace: "a", Kind: memory.Short, Tags: []string{"x", "y", "x"}})
	store(t, s, memory.StoreRequest{Text: "blue two", Namespace: "a", Kind: memory.Long, Tags: []string{"x"}})
	store(t, s, memory.StoreRequest{Text: "blue three", Namespace: "b"})
	store(t, s, memory.StoreRequest{Text: "blue four"})
	want(t, recall(t, s, memory.RecallRequest{Query: "blue"}), "blue four")
	want(t, recall(t, s, memory.RecallRequest{Query: "blue", Namespace: "b"}), "blue three")
	want(t, recall(t, s, memory.RecallRequest{Query: "blue", Namespace: "a", Kind: memory.Short}), "blue one")
	want(t, recall(t, s, memory.RecallRequest{Query: "blue", Namespace: "a", Tags: []string{"y", "x"}}), "blue one")
	want(t, recall(t, s, memory.RecallRequest{Namespace: "a", Kind: memory.Long, Tags: []string{"x"}}), "blue two")
	want(t, recall(t, s, memory.RecallRequest{Query: "y", Namespace: "a"}), "blue one")
}

func TestShortMemoriesEnd(t *testing.T) {
	s, c := fresh(t)
	a := store(t, s, memory.StoreRequest{Text: "until noon", Kind: memory.Short})
	b := store(t, s, memory.StoreRequest{Text: "until night", Kind: memory.Short, TTL: "10h"})
	l := store(t, s, memory.StoreRequest{Text: "until ever"})
	if a.ExpiresAt.Sub(a.CreatedAt) != time.Hour || b.ExpiresAt.Sub(b.CreatedAt) != 10*time.Hour || !l.ExpiresAt.IsZero() {
		t.Fatal(a, b, l)
	}
	c.add(time.Hour)
	want(t, recall(t, s, memory.RecallRequest{Query: "until"}), "until ever", "until night")
	if _, err := s.Get(t.Context(), a.ID); !errors.Is(err, memory.ErrNotFound) {
		t.Fatal(err)
	}
	if it, err := s.Get(t.Context(), b.ID); err != nil || it.Text != "until night" || !it.ExpiresAt.Equal(b.ExpiresAt) {
		t.Fatal(it, err)
	}
	st, err := s.Stats(t.Context())
	if err != nil || st.Items != 2 || st.Short != 1 || st.Long != 1 || st.Expired != 1 || st.Namespaces["default"] != 2 || st.Bytes == 0 || st.MaxItems != 1000 {
		t.Fatalf("%+v, %v", st, err)
	}
	store(t, s, memory.StoreRequest{Text: "one more"})
	if st, _ := s.Stats(t.Context()); st.Expired != 0 {
		t.Fatal("what has ended is still in the file")
	}
}

func TestTheSameIsStoredOnce(t *testing.T) {
	s, c := fresh(t)
	r := memory.StoreRequest{Text: "tea at five", Kind: memory.Short, Tags: []string{"tea"}}
	first := store(t, s, r)
	c.add(30 * time.Minute)
	second := store(t, s, r)
	if first.ID != second.ID || !second.ExpiresAt.After(first.ExpiresAt) {
		t.Fatal(first, second)
	}
	r.Tags = []string{"other"}
	if third := store(t, s, r); third.ID == first.ID {
		t.Fatal("other tags are another memory")
	}
}

func TestForget(t *testing.T) {
	s, _ := fresh(t)
	a := store(t, s, memory.StoreRequest{Text: "red car"})
	store(t, s, memory.StoreRequest{Text: "red boat"})
	store(t, s, memory.StoreRequest{Text: "green boat"})
	store(t, s, memory.StoreRequest{Text: "red boat", Namespace: "b"})
	for _, c := range []struct {
		r    memory.ForgetRequest
		n    int
		left []string
	}{
		{memory.ForgetRequest{IDs: []int64{a.ID, 999}}, 1, []string{"green boat", "red boat"}},
		{memory.ForgetRequest{Namespace: "default", Query: "boat RED"}, 1, []string{"green boat"}},
		{memory.ForgetRequest{Namespace: "none", All: true}, 0, []string{"green boat"}},
		{memory.ForgetRequest{Namespace: "default", All: true}, 1, nil},
	} {
		n, err := s.Forget(t.Context(), c.r)
		if err != nil || n != c.n {
			t.Fatalf("%+v: %d, %v", c.r, n, err)
		}
		want(t, recall(t, s, memory.RecallRequest{}), c.left...)
		want(t, recall(t, s, memory.RecallRequest{Query: "boat", Namespace: "b"}), "red boat")
	}
	for _, r := range []memory.ForgetRequest{
		{}, {Namespace: "b"}, {All: true}, {Query: "x"}, {Namespace: "b", Query: "x", All: true}, {IDs: []int64{1}, All: true},
		{Namespace: "b", Query: "?"}, {IDs: make([]int64, 1001)}, {Namespace: "\x00", All: true}, {Namespace: "b", Query: "\xff"},
	} {
		if _, err := s.Forget(t.Context(), r); !isInvalid(err) {
			t.Fatalf("%+v: %v", r, err)
		}
	}
}

func isInvalid(err error) bool {
	var bad *memory.InvalidError
	return errors.As(err, &bad) && bad.Field != "" && bad.Message != ""
}

func TestCompact(t *testing.T) {
	s, c := fresh(t)
	for i := range 200 {
		store(t, s, memory.StoreRequest{Text: fmt.Sprint("filler ", i, strings.Repeat(" long", 500)), Kind: memory.Short})
	}
	c.add(30 * time.Minute)
	store(t, s, memory.StoreRequest{Text: "Call  the DOCTOR", Tags: []string{"a"}, TTL: "5h"})
	store(t, s, memory.StoreRequest{Text: "call the doctor", Tags: []string{"b"}})
	store(t, s, memory.StoreRequest{Text: "Call the doctor", Tags: []string{"c"}, TTL: "2h"})
	store(t, s, memory.StoreRequest{Text: "call the doctor", Namespace: "b"})
	c.add(40 * time.Minute)
	got, err := s.Compact(t.Context())
	if err != nil || got.Expired != 200 || got.Merged != 2 || got.Items != 2 || got.BytesAfter >= got.BytesBefore/2 {
		t.Fatalf("%+v, %v", got, err)
	}
	items, err := s.Recall(t.Context(), memory.RecallRequest{Query: "b doctor"})
	if err != nil || len(items) != 1 || !slices.Equal(items[0].Tags, []string{"a", "b", "c"}) || !items[0].ExpiresAt.IsZero() || items[0].Text != "Call the doctor" {
		t.Fatalf("%+v, %v", items, err)
	}
	if again, err := s.Compact(t.Context()); err != nil || again.Expired+again.Merged != 0 {
		t.Fatalf("%+v, %v", again, err)
	}
}

func TestLimits(t *testing.T) {
	set, c := defaults(), &clock{t: time.Now()}
	set.MaxItems, set.MaxText = 2, 100
	s := open(t, filepath.Join(t.TempDir(), "m.db"), set, c)
	many := make([]string, memory.MaxTags+1)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	for _, r := range []memory.StoreRequest{
		{}, {Text: " \n"}, {Text: strings.Repeat("x", 101)}, {Text: "a\x00b"}, {Text: "a\xffb"}, {Text: "x", Kind: "medium"},
		{Text: "x", Namespace: strings.Repeat("n", 129)}, {Text: "x", Namespace: "a\nb"}, {Text: "x", Tags: many},
		{Text: "x", Tags: []string{""}}, {Text: "x", Tags: []string{"a\tb"}}, {Text: "x", Tags: []string{strings.Repeat("t", 65)}},
		{Text: "x", TTL: "soon"}, {Text: "x", TTL: "-1h"}, {Text: "x", TTL: "0s"}, {Text: "x", TTL: "9999999h"},
	} {
		if _, err := s.Store(t.Context(), r); !isInvalid(err) {
			t.Fatalf("%+v: %v", r, err)
		}
	}
	for _, r := range []memory.RecallRequest{
		{Query: strings.Repeat("q", memory.MaxQuery+1)}, {Query: "\xff"}, {K: -1}, {K: 101}, {Kind: "x"}, {Namespace: "\x01"}, {Tags: many},
	} {
		if _, err := s.Recall(t.Context(), r); !isInvalid(err) {
			t.Fatalf("%+v: %v", r, err)
		}
	}
	store(t, s, memory.StoreRequest{Text: "👍", Kind: memory.Short})
	store(t, s, memory.StoreRequest{Text: "two"})
	if _, err := s.Store(t.Context(), memory.StoreRequest{Text: "three"}); !errors.Is(err, memory.ErrFull) {
		t.Fatal(err)
	}
	store(t, s, memory.StoreRequest{Text: "two"}) // renewed, not one more
	c.add(time.Hour)
	store(t, s, memory.StoreRequest{Text: "three"}) // there is room again
}

func TestManyAtOnceFromTwoProcesses(t *testing.T) {
	path, c := filepath.Join(t.TempDir(), "m.db"), &clock{t: time.Now()}
	stores := []*memory.Store{open(t, path, defaults(), c), open(t, path, defaults(), c)}
	var wg sync.WaitGroup
	errs := make(chan error, 1000)
	for i := range 40 {
		wg.Go(func() {
			_, err := stores[i%2].Store(context.Background(), memory.StoreRequest{Text: fmt.Sprint("item ", i)})
			errs <- err
			_, err = stores[i%2].Recall(context.Background(), memory.RecallRequest{Query: "item"})
			errs <- err
			if i%10 == 0 {
				_, err = stores[i%2].Compact(context.Background())
				errs <- err
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	if st, err := stores[0].Stats(t.Context()); err != nil || st.Items != 40 {
		t.Fatalf("%+v, %v", st, err)
	}
}

func FuzzRecall(f *testing.F) {
	for _, seed := range []string{"cat", `"`, `a" OR b NEAR(c) {text}: x*`, "-x ^y :z", "''; DROP TABLE items", "é\u0301", "一二三", "\u200d", "½ Ⅳ", "AND OR NOT", "\ue000"} {
		f.Add(seed)
	}
	s, _ := fresh(f)
	f.Fuzz(func(t *testing.T, text string) {
		valid := utf8.ValidString(text) && !strings.Contains(text, "\x00")
		_, err := s.Recall(context.Background(), memory.RecallRequest{Query: text})
		if valid && len(text) <= memory.MaxQuery && err != nil || !valid && !isInvalid(err) {
			t.Fatalf("%q: %v", text, err)
		}
		it, err := s.Store(context.Background(), memory.StoreRequest{Text: text + " anchor"})
		if err != nil {
			if valid && len(text) < 60_000 {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		items, err := s.Recall(context.Background(), memory.RecallRequest{Query: "anchor", K: 100})
		if err != nil || !slices.ContainsFunc(items, func(i memory.Item) bool { return i.ID == it.ID && i.Text == it.Text }) {
			t.Fatalf("%q is not found: %v", text, err)
		}
		if n, err := s.Forget(context.Background(), memory.ForgetRequest{IDs: []int64{it.ID}}); err != nil || n != 1 {
			t.Fatalf("%q: %d, %v", text, n, err)
		}
	})
}
