package storetest_test

import (
	"testing"

	"github.com/waooaw/platform-portal/internal/store"
	"github.com/waooaw/platform-portal/internal/store/storetest"
)

func TestSQLite(t *testing.T) {
	storetest.Run(t, func(t testing.TB) *store.Store { return storetest.New(t) })
}
