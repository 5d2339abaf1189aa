package door

import (
	"context"
	"encoding/json"
	"net/http"
	"path"
	"time"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
)

// Waitable is what routes take that start an operation.
type Waitable struct {
	Wait string `query:"wait" doc:"Answer when the operation is done (then 200), at most after this time, e.g. 30s; at most 5m"`
}

// OperationAnswer is the body of what starts or steers an operation.
type OperationAnswer struct {
	Operation *operation.Operation `json:"operation"`
}

// Accepted answers that an operation is on its way.
type Accepted struct {
	Location string `header:"Location" doc:"Where the operation is"`
	Body     OperationAnswer
}

// Begun is the answer to what has begun an operation.
func Begun(op *operation.Operation) *Accepted {
	return &Accepted{Location: Base + "/operations/" + op.ID, Body: OperationAnswer{Operation: op}}
}

// waiting serves ?wait= on routes that start an operation. It stands outside
// of the transaction of the request: the operation begins after its commit.
func (d *Door) waiting(route *Route, next http.Handler) http.Handler {
	if !route.Waits {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wait, err := WaitOf(r.URL.Query().Get("wait"))
		if err != nil {
			d.Fail(w, r, err)
			return
		}
		if wait == 0 {
			next.ServeHTTP(w, r)
			return
		}
		rec := newRecorder()
		next.ServeHTTP(rec, r)
		if rec.status == http.StatusAccepted {
			if err := d.settle(r.Context(), rec, wait); err != nil {
				d.Fail(w, r, err)
				return
			}
		}
		rec.send(w)
	})
}

// settle waits for the operation of the answer and brings the answer up to
// date: 200 with the final operation, or 202 with how far it has come.
func (d *Door) settle(ctx context.Context, rec *recorder, wait time.Duration) error {
	place := rec.header.Get("Location")
	op, err := d.Await(ctx, path.Base(place), wait)
	if err != nil {
		return err
	}
	var body any = OperationAnswer{Operation: op}
	if settled := d.cfg.Settled[path.Base(path.Dir(place))]; settled != nil {
		if body, err = settled(ctx, op.ID); err != nil {
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

// Await gives the operation once it is final, or as it is when the time is up.
func (d *Door) Await(ctx context.Context, id string, wait time.Duration) (*operation.Operation, error) {
	if wait > 0 {
		limited, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		op, err := d.cfg.Operations.Wait(limited, id)
		if err == nil && op != nil {
			return op, nil
		}
		if limited.Err() == nil {
			return nil, err
		}
	}
	return d.cfg.Operations.Get(ctx, id)
}

// WaitOf reads how long a client wants to wait.
func WaitOf(text string) (time.Duration, error) {
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

// WhileAllowed cancels when the access of the one who asks ends.
func (d *Door) WhileAllowed(ctx context.Context, cancel context.CancelFunc) {
	need := exchangeOf(ctx).route.Role
	tick := time.NewTicker(d.cfg.Recheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		who, err := auth.Recheck(ctx)
		if fault.Is(err, fault.Unauthenticated) || err == nil && !who.Role.Includes(need) {
			cancel()
			return
		}
	}
}
