package storetest

import (
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/preference"
	"github.com/waooaw/platform-portal/internal/store"
)

var preferences = []promise{
	{"a preference comes back as it was stored last", func(t *testing.T, s *store.Store) {
		ctx, p := t.Context(), s.Preferences()
		one := preference.Preference{Owner: "user:1", Key: "a/b", Value: []byte(`{"x":"<ü>"}`), UpdatedAt: epoch}
		must(t, p.PutPreference(ctx, one))
		one.Value, one.UpdatedAt = []byte(`[1]`), epoch.Add(time.Second)
		must(t, p.PutPreference(ctx, one))
		got, err := p.Preference(ctx, "user:1", "a/b")
		must(t, err)
		equal(t, "preference", *got, one)
		must(t, p.DeletePreference(ctx, "user:1", "a/b"))
		_, err = p.Preference(ctx, "user:1", "a/b")
		wantKind(t, err, fault.NotFound)
		wantKind(t, p.DeletePreference(ctx, "user:1", "a/b"), fault.NotFound)
	}},
	{"preferences go with the user", func(t *testing.T, s *store.Store) {
		ctx, p := t.Context(), s.Preferences()
		must(t, s.Users().CreateUser(ctx, auth.User{ID: "1", Email: "a@b.c", Provider: "p", Subject: "s", CreatedAt: epoch}))
		for _, owner := range []string{"user:1", "user:11"} {
			must(t, p.PutPreference(ctx, preference.Preference{Owner: owner, Key: "k", Value: []byte("1"), UpdatedAt: epoch}))
		}
		must(t, s.Users().DeleteUser(ctx, "1"))
		_, err := p.Preference(ctx, "user:1", "k")
		wantKind(t, err, fault.NotFound)
		_, err = p.Preference(ctx, "user:11", "k")
		must(t, err)
	}},
	{"preferences are each person's own and listed by key", func(t *testing.T, s *store.Store) {
		ctx, p := t.Context(), s.Preferences()
		for _, key := range []string{"v/b", "v/a", "v/a-1", "w", "v", "v/a0"} {
			must(t, p.PutPreference(ctx, preference.Preference{Owner: "me", Key: key, Value: []byte("1"), UpdatedAt: epoch}))
		}
		must(t, p.PutPreference(ctx, preference.Preference{Owner: "you", Key: "v/c", Value: []byte("1"), UpdatedAt: epoch}))
		for prefix, want := range map[string][]string{
			"v/": {"v/a", "v/a-1", "v/a0", "v/b"}, "": {"v", "v/a", "v/a-1", "v/a0", "v/b", "w"}, "x": {},
		} {
			list, err := p.Preferences(ctx, "me", prefix)
			must(t, err)
			got := []string{}
			for _, one := range list {
				got = append(got, one.Key)
			}
			equal(t, "keys of "+prefix, got, want)
		}
	}},
}
