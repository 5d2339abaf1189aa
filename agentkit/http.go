package agentkit

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// The phases of an agent's life.
const (
	starting int32 = iota
	ready
	leaving
)

// server is the HTTP interface of the agent contract.
type server struct {
	agent   Agent
	env     Env
	worker  *worker
	queue   *consumer // nil without a queue
	phase   atomic.Int32
	started bool
	http    *http.Server
}

// listen binds the port; serve answers on it.
func (s *server) listen() (net.Listener, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(s.env.Host, strconv.Itoa(s.env.Port)))
	if err != nil {
		return nil, fmt.Errorf("serve HTTP on PORT %d of %s: %w", s.env.Port, s.env.Host, err)
	}
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       time.Minute,
		IdleTimeout:       2 * time.Minute,
	}
	return l, nil
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", s.health)
	mux.HandleFunc("GET /ready", s.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("POST /v1/tasks", s.task)
	mux.HandleFunc("GET /v1/config", func(w http.ResponseWriter, _ *http.Request) {
		Respond(w, http.StatusOK, s.agent.Config.describe())
	})
	mux.HandleFunc("PATCH /v1/config", s.configure)
	if s.agent.Mount != nil {
		own := http.NewServeMux()
		s.agent.Mount(own)
		mux.Handle("/", s.onceReady(own))
	}
	// A page in a browser on the same machine must not be able to give orders.
	return http.NewCrossOriginProtection().Handler(mux)
}

// onceReady keeps requests from what Start has still to make.
func (s *server) onceReady(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.phase.Load() == starting {
			Fail(w, http.StatusServiceUnavailable, errors.New("the agent is not ready yet"))
			return
		}
		h.ServeHTTP(w, r)
	})
}

func (s *server) status(status string) map[string]any {
	body := map[string]any{"status": status, "queue": "off", "tasks_running": len(s.worker.slots)}
	for k, v := range map[string]string{"agent_id": s.env.ID, "name": s.env.Name, "version": s.env.Version, "instance": s.env.Instance} {
		if v != "" {
			body[k] = v
		}
	}
	if s.queue != nil {
		body["queue"] = s.queue.state()
	}
	return body
}

func (s *server) health(w http.ResponseWriter, _ *http.Request) {
	Respond(w, http.StatusOK, s.status("ok"))
}

func (s *server) ready(w http.ResponseWriter, r *http.Request) {
	switch s.phase.Load() {
	case starting:
		Respond(w, http.StatusServiceUnavailable, s.status("starting"))
		return
	case leaving:
		Respond(w, http.StatusServiceUnavailable, s.status("stopping"))
		return
	}
	if s.agent.Ready != nil {
		if err := s.agent.Ready(r.Context()); err != nil {
			body := s.status("not ready")
			body["error"] = err.Error()
			Respond(w, http.StatusServiceUnavailable, body)
			return
		}
	}
	Respond(w, http.StatusOK, s.status("ready"))
}

func (s *server) task(w http.ResponseWriter, r *http.Request) {
	body, ok := readBody(w, r, s.agent.MaxBody)
	if !ok {
		return
	}
	task, err := decodeTask(body)
	if err != nil {
		Fail(w, http.StatusBadRequest, err)
		return
	}
	if task.ID == "" {
		task.ID = rand.Text()
	}
	task.Attempt = 1
	switch s.phase.Load() {
	case starting:
		Fail(w, http.StatusServiceUnavailable, errors.New("the agent is not ready yet"))
		return
	case leaving:
		Fail(w, http.StatusServiceUnavailable, errLeaving)
		return
	}
	result, err := s.worker.do(r.Context(), task)
	switch {
	case err != nil:
		w.Header().Set("Retry-After", "1")
		Fail(w, http.StatusServiceUnavailable, err)
	case result.Status == StatusDone:
		Respond(w, http.StatusOK, result)
	case result.Permanent:
		Respond(w, http.StatusUnprocessableEntity, result)
	default:
		Respond(w, http.StatusInternalServerError, result)
	}
}

func (s *server) configure(w http.ResponseWriter, r *http.Request) {
	body, ok := readBody(w, r, s.agent.MaxBody)
	if !ok {
		return
	}
	var changes map[string]json.RawMessage
	if err := decodeStrict(body, &changes); err != nil {
		Fail(w, http.StatusBadRequest, err)
		return
	}
	err := s.agent.Config.patch(changes)
	var refused configError
	switch {
	case errors.As(err, &refused):
		Respond(w, http.StatusBadRequest, map[string]any{"error": "the configuration is not valid; nothing was changed", "fields": refused})
	case err != nil:
		Fail(w, http.StatusInternalServerError, err)
	default:
		Logger(r.Context()).Info("configuration changed")
		Respond(w, http.StatusOK, s.agent.Config.describe())
	}
}

func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		Fail(w, http.StatusRequestEntityTooLarge, fmt.Errorf("the body may have %d bytes at most", limit))
		return nil, false
	case err != nil:
		Fail(w, http.StatusBadRequest, err)
		return nil, false
	}
	return body, true
}

// Respond writes v as JSON; for the handlers that an agent mounts.
func Respond(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		status, data = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	w.Write(append(data, '\n')) //nolint:errcheck // the client has gone
}

// Fail writes an error as JSON: {"error": "…"}.
func Fail(w http.ResponseWriter, status int, err error) {
	Respond(w, status, map[string]string{"error": err.Error()})
}

// shutdown ends the server once requests in progress are answered.
func (s *server) shutdown(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(err, s.http.Close())
	}
	return nil
}
