package logs_test

import (
	"testing"

	"github.com/waooaw/platform-portal/internal/logs/logstest"
)

func TestMemoryIsAStore(t *testing.T) {
	logstest.Run(t, func(*testing.T) logstest.DB { return &logstest.Memory{} }, false)
}
