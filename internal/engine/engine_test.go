package engine_test

import (
	"io"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/waooaw/platform-portal/internal/engine"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/operation/operationtest"
)

var silent = slog.New(slog.NewTextHandler(io.Discard, nil))

func TestSQLite(t *testing.T) {
	operationtest.TestEngine(t, func(t *testing.T) func(operation.Executor) operationtest.Host {
		path := filepath.Join(t.TempDir(), "engine.db")
		return func(exec operation.Executor) operationtest.Host {
			return engine.New(engine.Config{Path: path, Executor: exec, Log: silent})
		}
	})
}
