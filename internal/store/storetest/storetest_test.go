package storetest_test

import (
	"os"
	"testing"

	"github.com/waooaw/platform-portal/internal/store"
	"github.com/waooaw/platform-portal/internal/store/storetest"
	"github.com/waooaw/platform-portal/internal/store/storetest/postgres"
)

func TestMain(m *testing.M) { os.Exit(postgres.Main(m)) }

func TestSQLite(t *testing.T) {
	storetest.Run(t, func(t testing.TB) *store.Store { return storetest.New(t) })
}

func TestPostgreSQL(t *testing.T) {
	storetest.Run(t, func(t testing.TB) *store.Store { return storetest.Open(t, store.Config{URL: postgres.New(t)}) })
}
