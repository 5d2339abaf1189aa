package agentkit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

// How a task ended.
const (
	StatusDone   = "done"
	StatusFailed = "failed"
)

// Result is the answer to a task.
type Result struct {
	ID        string          `json:"id"`
	Status    string          `json:"status"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     string          `json:"error,omitempty"`
	Permanent bool            `json:"permanent,omitempty"` // trying again is no use
}

const remembered = 1024 // results of tasks that were done

var errLeaving = errors.New("the agent is about to stop")

// worker does tasks, from wherever they come.
type worker struct {
	agent Agent
	log   *slog.Logger
	slots chan struct{}
	stop  context.Context // ends when running tasks have to end

	mu      sync.Mutex
	leaving bool
	running sync.WaitGroup
	tasks   map[string]*attempt // by id: those that run and the last that were done
	order   []string            // the done ones, oldest first
}

type attempt struct {
	ended  chan struct{}
	result Result
}

func newWorker(agent Agent, log *slog.Logger, stop context.Context) *worker {
	return &worker{
		agent: agent, log: log, stop: stop,
		slots: make(chan struct{}, agent.Concurrency), tasks: map[string]*attempt{},
	}
}

// do does a task as soon as a slot is free, and waits for its end. A task whose
// id was done already, or is being done, is not done again. The error is
// errLeaving, or that of ctx if it ended before there was a slot.
func (w *worker) do(ctx context.Context, task Task) (Result, error) {
	w.mu.Lock()
	if w.leaving {
		w.mu.Unlock()
		return Result{}, errLeaving
	}
	if same := w.tasks[task.ID]; same != nil {
		w.mu.Unlock()
		select {
		case <-same.ended:
			return same.result, nil
		case <-ctx.Done():
			return Result{}, ctx.Err()
		}
	}
	a := &attempt{ended: make(chan struct{})}
	w.tasks[task.ID] = a
	w.running.Add(1)
	w.mu.Unlock()
	defer w.running.Done()

	select {
	case w.slots <- struct{}{}:
		defer func() { <-w.slots }()
	case <-ctx.Done():
		a.result = Result{ID: task.ID, Status: StatusFailed, Error: "the agent was busy for too long"}
		w.settle(task.ID, a)
		return Result{}, ctx.Err()
	case <-w.stop.Done():
		a.result = Result{ID: task.ID, Status: StatusFailed, Error: errLeaving.Error()}
		w.settle(task.ID, a)
		return Result{}, errLeaving
	}
	a.result = w.attempt(ctx, task)
	w.settle(task.ID, a)
	return a.result, nil
}

// settle tells those who wait, and remembers what was done.
func (w *worker) settle(id string, a *attempt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(a.ended)
	if a.result.Status != StatusDone {
		delete(w.tasks, id)
		return
	}
	w.order = append(w.order, id)
	if len(w.order) > remembered {
		delete(w.tasks, w.order[0])
		w.order = w.order[1:]
	}
}

func (w *worker) attempt(ctx context.Context, task Task) Result {
	log := w.log.With("task_id", task.ID, "task_type", task.Type)
	ctx, cancel := context.WithTimeout(withLogger(ctx, log), w.agent.TaskTimeout)
	defer cancel()
	defer context.AfterFunc(w.stop, cancel)()
	tasksRunning.Inc()
	defer tasksRunning.Dec()
	start := time.Now()
	value, err := w.call(ctx, log, task)
	result := Result{ID: task.ID, Status: StatusDone}
	if err == nil {
		result.Result, err = json.Marshal(value)
		err = Permanent(err)
	}
	if err != nil {
		result = Result{ID: task.ID, Status: StatusFailed, Error: err.Error(), Permanent: IsPermanent(err)}
	}
	took := time.Since(start)
	measure(result.Status, took)
	if err != nil {
		log.Warn("task failed", "error", err, "attempt", task.Attempt, "duration_ms", took.Milliseconds(), "permanent", result.Permanent)
	} else {
		log.Info("task done", "duration_ms", took.Milliseconds())
	}
	return result
}

// call runs the handler; a panic comes back as an error.
func (w *worker) call(ctx context.Context, log *slog.Logger, task Task) (value any, err error) {
	handler := w.agent.Tasks[task.Type]
	if handler == nil {
		known := strings.Join(slices.Sorted(maps.Keys(w.agent.Tasks)), ", ")
		return nil, Permanent(fmt.Errorf("there is no task of type %q; this agent does %s", task.Type, known))
	}
	defer func() {
		if p := recover(); p != nil {
			log.Error("task panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			value, err = nil, fmt.Errorf("the task panicked: %v", p)
		}
	}()
	return handler(ctx, task)
}

// enter counts one more task that is not to be left behind; false if the agent
// is leaving. running.Done is its counterpart.
func (w *worker) enter() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.leaving {
		return false
	}
	w.running.Add(1)
	return true
}

// leave takes no more tasks and waits for those that run, until ctx ends.
func (w *worker) leave(ctx context.Context) error {
	w.mu.Lock()
	w.leaving = true
	w.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		w.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// decodeTask reads a task from outside.
func decodeTask(data []byte) (Task, error) {
	var t Task
	if err := decodeStrict(data, &t); err != nil {
		return Task{}, err
	}
	if t.Type == "" {
		return Task{}, errors.New("type: a task needs a type")
	}
	if len(t.ID) > 256 {
		return Task{}, errors.New("id: 256 bytes at most")
	}
	return t, nil
}

// decodeStrict reads exactly one JSON value and refuses unknown fields.
func decodeStrict(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("the JSON is not as expected: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("the JSON is not as expected: there is more after its end")
	}
	return nil
}
