// Package storetest gives tests a store, and holds every database to the
// promises of the Store interfaces.
package storetest

import (
	"path/filepath"
	"testing"

	"github.com/waooaw/platform-portal/internal/store"
)

// New gives a fresh store on SQLite in a directory of the test, closed at its end.
func New(t testing.TB) *store.Store {
	t.Helper()
	return Open(t, store.Config{Path: filepath.Join(t.TempDir(), "portal.db")})
}

// Open opens a store and closes it at the end of the test.
func Open(t testing.TB, cfg store.Config) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("open store: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	return s
}
