package metricstest_test

import (
	"testing"

	"github.com/waooaw/platform-portal/internal/metrics/metricstest"
)

func TestFake(t *testing.T) {
	metricstest.Run(t, func(*testing.T) metricstest.Store { return &metricstest.Fake{} }, nil)
}
