package oidc_test

import (
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/oidc"
	"github.com/waooaw/platform-portal/internal/store/storetest"
)

// newFlows gives the portal's own store of what is remembered meanwhile.
func newFlows(t *testing.T, now func() time.Time) oidc.Flows {
	return &auth.Service{Flows: storetest.New(t).Flows(), Now: now}
}
