package operationtest_test

import (
	"testing"

	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/operation/operationtest"
)

func TestMemoryEngine(t *testing.T) {
	operationtest.TestEngine(t, func(*testing.T) func(operation.Executor) operationtest.Host {
		mem := &operationtest.Memory{}
		return func(exec operation.Executor) operationtest.Host { return operationtest.Open(exec, mem) }
	})
}
