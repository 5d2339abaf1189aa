package bulk_test

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/bulk"
	"github.com/waooaw/platform-portal/internal/engine"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/operation/operationtest"
)

// BenchmarkFleet measures what the machinery takes to bring 14 agents in four
// layers from DRAFT to RUNNING by one bulk operation, with three actions of one
// empty step each: 43 durable operations.
func BenchmarkFleet(b *testing.B) {
	w := emptyWorld(b)
	w.boot(func(exec operation.Executor, _ *operationtest.Memory) operationtest.Host {
		return engine.New(engine.Config{Path: filepath.Join(b.TempDir(), "engine.db"), Executor: exec, Log: slog.New(slog.DiscardHandler)})
	})
	for n := 0; b.Loop(); n++ {
		b.StopTimer()
		var ids, above, layer []string
		for i := range 14 {
			name := fmt.Sprintf("f%d-a%02d", n, i)
			w.agent(name, agent.Draft, above...)
			ids, layer = append(ids, name), append(layer, name)
			if len(layer) == 4 {
				above, layer = layer, nil
			}
		}
		w.begun = make(chan string, 1000)
		b.StartTimer()
		got := w.finished(bulk.Request{Actions: actions(agent.Provision, agent.Deploy, agent.Start), AgentIDs: ids})
		if got.State != operation.Succeeded {
			b.Fatalf("%+v", got)
		}
	}
}
