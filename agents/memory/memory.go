// Package memory is an agent that remembers for others: short memories that
// end by themselves, and long ones that stay over restarts and are found again
// by the words in them. It keeps everything in one SQLite file in its data
// directory.
//
// Tasks: memory.store, memory.recall, memory.forget, memory.compact and
// memory.stats. The same over HTTP:
//
//	POST   /v1/memory                 StoreRequest → Item
//	GET    /v1/memory?q=&k=&kind=&namespace=&tag=
//	GET    /v1/memory/{id}            DELETE /v1/memory/{id}
//	POST   /v1/memory/forget          ForgetRequest
//	POST   /v1/memory/compact
//	GET    /v1/memory/stats
package memory

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/waooaw/platform-portal/agentkit"
)

// Run is the agent.
func Run(ctx context.Context) error {
	dir := os.Getenv("AGENT_DATA_DIR")
	if dir == "" {
		return errors.New("AGENT_DATA_DIR is not set: it is the folder to keep memories in")
	}
	return agentkit.Run(ctx, Agent(dir))
}

// remembering is the agent at work.
type remembering struct {
	dir    string
	config *agentkit.Config
	store  *Store
}

// Agent gives the agent's definition with its file in dir, for programs that
// run it themselves.
func Agent(dir string) agentkit.Agent {
	m := &remembering{dir: dir, config: agentkit.NewConfig(
		agentkit.Field{Name: "default_ttl", Default: time.Hour, Check: agentkit.Between(time.Second, MaxTTL),
			Doc: "How long a short memory lasts that does not say it itself"},
		agentkit.Field{Name: "max_items", Default: 100_000, Check: agentkit.Between(1, 10_000_000),
			Doc: "How many memories are kept at most"},
		agentkit.Field{Name: "max_text_bytes", Default: MaxText, Check: agentkit.Between(1, MaxText),
			Doc: "How many bytes one memory may have"},
		agentkit.Field{Name: "default_k", Default: 10, Check: agentkit.Between(1, MaxResults),
			Doc: "How many memories a recall gives that does not say it itself"},
		agentkit.Field{Name: "recency_half_life", Default: 7 * 24 * time.Hour, Check: agentkit.Between(time.Minute, MaxTTL),
			Doc: "The age at which a memory counts half as much for being old"},
	)}
	return agentkit.Agent{
		Config: m.config,
		Start: func(ctx context.Context) (err error) {
			m.store, err = Open(ctx, filepath.Join(m.dir, "memory.db"), m.settings, nil)
			return err
		},
		Stop: func(context.Context) error { return m.store.Close() },
		Tasks: map[string]agentkit.Handler{
			"memory.store":   task(func(ctx context.Context, r StoreRequest) (any, error) { return m.store.Store(ctx, r) }),
			"memory.recall":  task(func(ctx context.Context, r RecallRequest) (any, error) { return m.recall(ctx, r) }),
			"memory.forget":  task(func(ctx context.Context, r ForgetRequest) (any, error) { return m.forget(ctx, r) }),
			"memory.compact": task(func(ctx context.Context, _ struct{}) (any, error) { return m.store.Compact(ctx) }),
			"memory.stats":   task(func(ctx context.Context, _ struct{}) (any, error) { return m.store.Stats(ctx) }),
		},
		Mount: m.mount,
	}
}

func (m *remembering) settings() Settings {
	return Settings{
		DefaultTTL: m.config.Duration("default_ttl"), MaxItems: m.config.Int("max_items"),
		MaxText: m.config.Int("max_text_bytes"), DefaultK: m.config.Int("default_k"),
		HalfLife: m.config.Duration("recency_half_life"),
	}
}

// task makes a handler that reads its request from the payload.
func task[R any](do func(context.Context, R) (any, error)) agentkit.Handler {
	return func(ctx context.Context, t agentkit.Task) (any, error) {
		var r R
		if len(t.Payload) > 0 {
			if err := t.Decode(&r); err != nil {
				return nil, err
			}
		}
		v, err := do(ctx, r)
		if status(err) < http.StatusInternalServerError {
			err = agentkit.Permanent(err)
		}
		return v, err
	}
}

func (m *remembering) recall(ctx context.Context, r RecallRequest) (any, error) {
	items, err := m.store.Recall(ctx, r)
	return map[string]any{"items": items}, err
}

func (m *remembering) forget(ctx context.Context, r ForgetRequest) (any, error) {
	n, err := m.store.Forget(ctx, r)
	return map[string]int{"forgotten": n}, err
}

// status is the HTTP status of an error; those from 500 may go away by themselves.
func status(err error) int {
	var bad *InvalidError
	switch {
	case err == nil:
		return http.StatusOK
	case errors.As(err, &bad):
		return http.StatusBadRequest
	case errors.Is(err, ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, ErrFull):
		return http.StatusInsufficientStorage
	}
	return http.StatusInternalServerError
}

func answer(w http.ResponseWriter, r *http.Request, v any, err error) {
	code := status(err)
	switch {
	case err == nil:
		agentkit.Respond(w, code, v)
	case code == http.StatusInternalServerError:
		agentkit.Logger(r.Context()).Error("memory", "error", err)
		agentkit.Fail(w, code, errors.New("the memory does not work; the agent's log says why"))
	default:
		agentkit.Fail(w, code, fmt.Errorf("the request was refused: %w", err))
	}
}
