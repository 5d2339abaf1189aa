package lifecycle_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/lifecycle"
	"github.com/waooaw/platform-portal/internal/lifecycle/lifecycletest"
)

type service struct {
	lifecycle.Loop
	name  string
	fail  error
	trace *[]string
}

func (s *service) Name() string { return s.name }

func (s *service) Start(context.Context) error {
	if s.fail != nil {
		return s.fail
	}
	if s.trace != nil {
		*s.trace = append(*s.trace, "start "+s.name)
	}
	return s.Go(func(ctx context.Context) { <-ctx.Done() })
}

func (s *service) Stop(ctx context.Context) error {
	if s.trace != nil {
		*s.trace = append(*s.trace, "stop "+s.name)
	}
	return s.Halt(ctx)
}

func TestLoopKeepsTheContract(t *testing.T) {
	lifecycletest.Run(t, func(*testing.T) lifecycle.Service { return &service{name: "loop"} })
}

func TestGroupStopsInReverse(t *testing.T) {
	var trace []string
	var g lifecycle.Group
	a, b := &service{name: "a", trace: &trace}, &service{name: "b", trace: &trace}
	if err := g.Start(t.Context(), a, b); err != nil {
		t.Fatal(err)
	}
	if err := g.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"start a", "start b", "stop b", "stop a"}; !slices.Equal(trace, want) {
		t.Errorf("order %v, want %v", trace, want)
	}
}

func TestGroupTakesBackAFailedStart(t *testing.T) {
	var trace []string
	var g lifecycle.Group
	broken := errors.New("no disk")
	err := g.Start(t.Context(), &service{name: "a", trace: &trace}, &service{name: "b", fail: broken})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "start b") {
		t.Errorf("error %v does not name the service that failed", err)
	}
	if want := []string{"start a", "stop a"}; !slices.Equal(trace, want) {
		t.Errorf("order %v, want %v", trace, want)
	}
}

func TestHaltGivesUpWithItsContext(t *testing.T) {
	var l lifecycle.Loop
	release := make(chan struct{})
	if err := l.Go(func(context.Context) { <-release }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Halt(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Halt of a goroutine that hangs: %v", err)
	}
	close(release)
}
