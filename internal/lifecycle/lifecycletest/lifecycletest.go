// Package lifecycletest checks that a service keeps the Start and Stop contract.
package lifecycletest

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/lifecycle"
)

// Run starts and stops fresh services in every order that the contract names,
// and finds goroutines of the portal that outlive Stop.
func Run(t *testing.T, fresh func(t *testing.T) lifecycle.Service) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	t.Run("Stop without Start", func(t *testing.T) {
		if err := fresh(t).Stop(ctx); err != nil {
			t.Fatalf("Stop without Start: %v", err)
		}
	})
	t.Run("Start twice is refused", func(t *testing.T) {
		s := fresh(t)
		if err := s.Start(ctx); err != nil {
			t.Fatal(err)
		}
		if err := s.Start(ctx); err == nil {
			t.Error("a second Start was accepted")
		}
		for range 2 {
			if err := s.Stop(ctx); err != nil {
				t.Errorf("Stop: %v", err)
			}
		}
	})
	t.Run("Stop from many sides", func(t *testing.T) {
		s := fresh(t)
		if err := s.Start(ctx); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if err := s.Stop(ctx); err != nil {
					t.Errorf("Stop: %v", err)
				}
			})
		}
		wg.Wait()
	})
	t.Run("nothing outlives Stop", func(t *testing.T) {
		s := fresh(t)
		before := own()
		if err := s.Start(ctx); err != nil {
			t.Fatal(err)
		}
		if err := s.Stop(ctx); err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(time.Minute)
		for own() > before {
			if time.Now().After(deadline) {
				t.Fatalf("%d goroutines of the portal outlive Stop", own()-before)
			}
			runtime.Gosched()
		}
	})
}

// own counts the goroutines that were started by code of this module.
func own() int {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	return strings.Count(string(buf), "created by github.com/waooaw/platform-portal/internal/")
}
