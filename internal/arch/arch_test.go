package arch_test

import (
	"os"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/arch"
)

func TestTheRulesHold(t *testing.T) {
	start := time.Now()
	found, err := arch.Check(os.DirFS("../.."), arch.Portal)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range found {
		t.Error(v)
	}
	t.Logf("checked in %v", time.Since(start))
}
