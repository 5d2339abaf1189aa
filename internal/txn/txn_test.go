package txn_test

import (
	"slices"
	"testing"

	"github.com/waooaw/platform-portal/internal/txn"
)

func TestAfterCommitWaitsForTheCommit(t *testing.T) {
	var ran []int
	ctx, hooks := txn.WithHooks(t.Context())
	txn.AfterCommit(ctx, func() { ran = append(ran, 1) })
	txn.AfterCommit(ctx, func() { ran = append(ran, 2) })
	if len(ran) > 0 {
		t.Fatal("ran before the commit")
	}
	hooks.Run()
	if !slices.Equal(ran, []int{1, 2}) {
		t.Errorf("ran %v", ran)
	}
}

func TestAfterCommitOutsideATransactionRunsAtOnce(t *testing.T) {
	ran := false
	txn.AfterCommit(t.Context(), func() { ran = true })
	if !ran {
		t.Error("did not run")
	}
}
