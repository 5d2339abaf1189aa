package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"path"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
)

// waiting serves ?wait= on routes that start an operation. It stands outside
// of the transaction of the request: the operation begins after its commit.
func (s *server) waiting(route *Route, next http.Handler) http.Handler {
	if !route.Waits {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wait, err := waitOf(r.URL.Query().Get("wait"))
		if err != nil {
			s.fail(w, r, err)
			return
		}
		if wait == 0 {
			next.ServeHTTP(w, r)
			return
		}
		rec := newRecorder()
		next.ServeHTTP(rec, r)
		if rec.status == http.StatusAccepted {
			if err := s.settle(r.Context(), rec, wait); err != nil {
				s.fail(w, r, err)
				return
			}
		}
		rec.send(w)
	})
}

// settle waits for the operation of the answer and brings the answer up to
// date: 200 with the final operation, or 202 with how far it has come.
func (s *server) settle(ctx context.Context, rec *recorder, wait time.Duration) error {
	place := rec.header.Get("Location")
	op, err := s.await(ctx, path.Base(place), wait)
	if err != nil {
		return err
	}
	var body any = operationAnswer{Operation: op}
	if path.Base(path.Dir(place)) == "bulk" {
		if body, err = s.bulkAnswer(ctx, op.ID); err != nil {
			return err
		}
	}
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	rec.body.Reset()
	_, _ = rec.body.Write(append(text, '\n'))
	if op.State.Final() {
		rec.status = http.StatusOK
	}
	return nil
}

// await gives the operation once it is final, or as it is when the time is up.
func (s *server) await(ctx context.Context, id string, wait time.Duration) (*operation.Operation, error) {
	if wait > 0 {
		limited, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		op, err := s.cfg.Operations.Wait(limited, id)
		if err == nil && op != nil {
			return op, nil
		}
		if limited.Err() == nil {
			return nil, err
		}
	}
	return s.cfg.Operations.Get(ctx, id)
}

// waitOf reads how long a client wants to wait.
func waitOf(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > maxWait {
		return 0, fault.New(fault.Invalid, "request.invalid", "The request is not valid").
			At(fault.Field{Path: "query.wait", Message: "must be a duration of at most 5m, such as 30s"})
	}
	return d, nil
}
