package oidc_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
)

type memFlows struct {
	mu sync.Mutex
	m  map[string]memFlow
}
type memFlow struct {
	data []byte
	ends time.Time
}

func (f *memFlows) PutFlow(_ context.Context, kind, hash string, data []byte, ends time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.m[kind+hash] = memFlow{data, ends}
	return nil
}
func (f *memFlows) TakeFlow(_ context.Context, kind, hash string, now time.Time) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, ok := f.m[kind+hash]
	delete(f.m, kind+hash)
	if !ok || !now.Before(d.ends) {
		return nil, fault.New(fault.NotFound, "x", "x")
	}
	return d.data, nil
}
func newFlows(t *testing.T, now func() time.Time) *auth.Service {
	return &auth.Service{Flows: &memFlows{m: map[string]memFlow{}}, Now: now}
}
