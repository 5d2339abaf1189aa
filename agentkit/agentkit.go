package agentkit

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"
)

// Handler does one task. What it returns is encoded as JSON for the one who
// asked. An error makes a task from the queue come again after a delay, until
// its deliveries are used up; Permanent says that this is no use. A panic is a
// failure like an error. The context ends when the task's time is up or the
// agent has to leave.
type Handler func(ctx context.Context, task Task) (any, error)

// Task is one piece of work.
type Task struct {
	ID      string          `json:"id"`
	Type    string          `json:"type"`
	Payload json.RawMessage `json:"payload,omitempty"`
	Attempt int             `json:"-"` // 1 for the first
}

// Decode reads the payload into v. Fields that v does not have, and anything
// else that does not fit, are a permanent error.
func (t Task) Decode(v any) error {
	if len(t.Payload) == 0 {
		return Permanent(errors.New("the task has no payload"))
	}
	if err := decodeStrict(t.Payload, v); err != nil {
		return Permanent(err)
	}
	return nil
}

// Agent says what the agent does. Only Tasks is needed.
type Agent struct {
	// Tasks are the kinds of tasks it does, by type.
	Tasks map[string]Handler
	// Config is what can be set while it runs; see NewConfig.
	Config *Config
	// Start is called once before the agent is ready; if it succeeded, Stop is
	// called after the last task.
	Start func(ctx context.Context) error
	Stop  func(ctx context.Context) error
	// Mount adds HTTP handlers of the agent's own; they are called after Start.
	Mount func(mux *http.ServeMux)
	// Ready may refuse readiness for a reason of the agent's own.
	Ready func(ctx context.Context) error

	Concurrency int             // tasks at a time; default 4
	TaskTimeout time.Duration   // for one task; default 10 min
	Grace       time.Duration   // for running tasks on SIGTERM; default 7 s, as the portal kills after 10 s unless told otherwise
	Retry       []time.Duration // delays after failures, the last one repeats; default 1 s, 5 s, 15 s, 30 s
	MaxBody     int64           // bytes of an HTTP body; default 1 MiB

	// Getenv and Output replace the environment and standard output in tests.
	Getenv func(string) string
	Output io.Writer
}

func (a Agent) withDefaults() Agent {
	if a.Config == nil {
		a.Config = NewConfig()
	}
	if a.Concurrency <= 0 {
		a.Concurrency = 4
	}
	if a.TaskTimeout <= 0 {
		a.TaskTimeout = 10 * time.Minute
	}
	if a.Grace <= 0 {
		a.Grace = 7 * time.Second
	}
	if len(a.Retry) == 0 {
		a.Retry = []time.Duration{time.Second, 5 * time.Second, 15 * time.Second, 30 * time.Second}
	}
	if a.MaxBody <= 0 {
		a.MaxBody = 1 << 20
	}
	if a.Getenv == nil {
		a.Getenv = os.Getenv
	}
	if a.Output == nil {
		a.Output = os.Stdout
	}
	return a
}

type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Permanent marks an error that trying again cannot mend: the task goes to the
// dead letters at once. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanent{err}
}

// IsPermanent tells whether err is marked by Permanent.
func IsPermanent(err error) bool {
	var p permanent
	return errors.As(err, &p)
}

type contextKey struct{}

// Logger gives the log of the agent, with the id of the task inside a Handler.
func Logger(ctx context.Context) *slog.Logger {
	if log, ok := ctx.Value(contextKey{}).(*slog.Logger); ok {
		return log
	}
	return slog.Default()
}

func withLogger(ctx context.Context, log *slog.Logger) context.Context {
	return context.WithValue(ctx, contextKey{}, log)
}
