package door

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/waooaw/platform-portal/internal/fault"
)

// statuses gives each kind of fault its HTTP status.
var statuses = map[fault.Kind]int{
	fault.Invalid:         http.StatusBadRequest,
	fault.Unauthenticated: http.StatusUnauthorized,
	fault.Forbidden:       http.StatusForbidden,
	fault.NotFound:        http.StatusNotFound,
	fault.Conflict:        http.StatusConflict,
	fault.Stale:           http.StatusPreconditionFailed,
	fault.TooLarge:        http.StatusRequestEntityTooLarge,
	fault.RateLimited:     http.StatusTooManyRequests,
	fault.Unavailable:     http.StatusServiceUnavailable,
	fault.Internal:        http.StatusInternalServerError,
}

// statusGone is what the log shows for a client that did not wait.
const statusGone = 499

// Problem is an answer that is not a success, as in RFC 9457.
type Problem struct {
	_         struct{}       `additionalProperties:"true"`
	Type      string         `json:"type" doc:"URN that names the kind of problem by its code"`
	Title     string         `json:"title" doc:"Text of the HTTP status"`
	Status    int            `json:"status" doc:"HTTP status"`
	Detail    string         `json:"detail" doc:"What happened, why, and what to do, in one text"`
	Code      string         `json:"code" doc:"Stable name of the problem for programs, e.g. agent.transition_refused"`
	What      string         `json:"what,omitempty" doc:"What happened"`
	Why       string         `json:"why,omitempty" doc:"The reason"`
	Remedy    string         `json:"remedy,omitempty" doc:"What to do"`
	Errors    []fault.Field  `json:"errors,omitempty" doc:"What is wrong where, every mistake at once"`
	RequestID string         `json:"request_id,omitempty" doc:"Finds the request in the portal's log and in the audit log"`
	ErrorID   string         `json:"error_id,omitempty" doc:"Finds an internal error in the portal's log"`
	extra     map[string]any // further members, e.g. the allowed actions
	header    http.Header
}

// Error gives the detail.
func (p *Problem) Error() string { return p.Detail }

// GetStatus gives the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders gives the headers that belong to the problem.
func (p *Problem) GetHeaders() http.Header { return p.header }

// ContentType is always that of RFC 9457.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// MarshalJSON adds the further members; none of them hides a member of Problem.
func (p *Problem) MarshalJSON() ([]byte, error) {
	type plain Problem
	body, err := json.Marshal((*plain)(p))
	if err != nil || len(p.extra) == 0 {
		return body, err
	}
	all := map[string]json.RawMessage{}
	if err := json.Unmarshal(body, &all); err != nil {
		return nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(p.extra)) {
		if _, taken := all[key]; taken {
			continue
		}
		if all[key], err = json.Marshal(p.extra[key]); err != nil {
			return nil, err
		}
	}
	return json.Marshal(all)
}

// newProblem makes the problem of a fault, whatever status it gets.
func newProblem(status int, f *fault.Error) *Problem {
	p := &Problem{
		Type: "urn:platform-portal:problem:" + f.Code, Title: http.StatusText(status), Status: status,
		Code: f.Code, What: f.What, Why: f.Why, Remedy: f.Remedy, Errors: f.Fields, extra: f.Extra,
	}
	p.Detail = strings.TrimSuffix(f.What, ".")
	if f.Why != "" {
		p.Detail += ": " + strings.TrimSuffix(f.Why, ".")
	}
	p.Detail += "."
	if f.Remedy != "" {
		p.Detail += " " + f.Remedy
	}
	switch status {
	case http.StatusUnauthorized:
		p.set("WWW-Authenticate", `Bearer realm="platform-portal"`)
	case http.StatusTooManyRequests:
		p.set("Retry-After", retryAfter(f))
	case http.StatusServiceUnavailable:
		p.set("Retry-After", "5")
	}
	return p
}

// retryAfter is how many seconds a client that asks too much is to wait.
func retryAfter(f *fault.Error) string {
	if n, ok := f.Extra["retry_after"].(int); ok {
		return strconv.Itoa(n)
	}
	return "10"
}

func (p *Problem) set(name, value string) {
	if p.header == nil {
		p.header = http.Header{}
	}
	p.header.Set(name, value)
}

// ProblemOf turns any error into a problem. What is not a fault is logged once,
// under an id that the user sees, and shown without detail.
func (d *Door) ProblemOf(ctx context.Context, err error) *Problem {
	var p *Problem
	var tooLarge *http.MaxBytesError
	f := fault.As(err)
	switch {
	case errors.As(err, &p):
	case errors.As(err, &tooLarge):
		p = newProblem(http.StatusRequestEntityTooLarge, bodyTooLarge(tooLarge.Limit))
	case f != nil && f.Kind != fault.Internal:
		p = newProblem(statuses[f.Kind], f)
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		p = newProblem(statusGone, fault.New(fault.Unavailable, "request.abandoned", "The client did not wait for the answer"))
	case errors.Is(err, context.DeadlineExceeded):
		p = newProblem(http.StatusServiceUnavailable, fault.New(fault.Unavailable, "request.timeout", "The portal could not answer in time").
			Do("Try again in a moment."))
	default:
		p = d.internal(ctx, err)
	}
	ex := exchangeOf(ctx)
	p.RequestID, ex.problem = ex.id, p
	return p
}

// internal logs an unforeseen error and gives the problem that names it.
func (d *Door) internal(ctx context.Context, err error, more ...any) *Problem {
	ex := exchangeOf(ctx)
	id := d.newID()
	d.log.ErrorContext(ctx, "internal error", append([]any{"error_id", id, "request_id", ex.id, "route", ex.pattern(), "error", err}, more...)...)
	p := newProblem(http.StatusInternalServerError, fault.New(fault.Internal, "internal", "Something went wrong inside the portal").
		Do("Tell your administrator the error id %s; the portal's log says more.", id))
	p.ErrorID = id
	return p
}

// Fail writes the answer to an error.
func (d *Door) Fail(w http.ResponseWriter, r *http.Request, err error) {
	p := d.ProblemOf(r.Context(), err)
	if !d.forBrowser(r, exchangeOf(r.Context())) {
		d.write(w, p)
		return
	}
	for name, values := range p.header {
		w.Header()[name] = values
	}
	d.cfg.ErrorPage(w, r, p)
}

func (d *Door) write(w http.ResponseWriter, p *Problem) {
	body, err := json.Marshal(p)
	if err != nil { // an Extra that JSON can't express: show the rest
		p.extra = nil
		body, _ = json.Marshal(p)
	}
	for name, values := range p.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Del("Content-Length")
	w.Header().Del("ETag")
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n'))
}

func bodyTooLarge(limit int64) *fault.Error {
	return fault.New(fault.TooLarge, "request.too_large", "The request's body is too large").
		Because("at most %d bytes are accepted here", limit).Do("Send less at once.")
}

// fromHuma turns what the HTTP framework found wrong into a problem in our form.
func (d *Door) fromHuma(ctx context.Context, status int, message string, errs []error) *Problem {
	if len(errs) == 1 && status == http.StatusInternalServerError {
		return d.ProblemOf(ctx, errs[0])
	}
	f := fault.New(fault.Invalid, "request.invalid", "The request is not valid").Do("Correct what is listed under errors.")
	switch status {
	case http.StatusUnprocessableEntity, http.StatusBadRequest:
		status = http.StatusBadRequest
	case http.StatusInternalServerError:
		return d.ProblemOf(ctx, errors.New(message))
	default:
		f = fault.New(fault.Invalid, "request.refused", "%s", http.StatusText(status)).Because("%s", message)
	}
	for _, err := range errs {
		if err != nil {
			f.At(fieldOf(err))
		}
	}
	if len(f.Fields) == 0 && message != "" {
		f.Because("%s", message)
	}
	p := newProblem(status, f)
	ex := exchangeOf(ctx)
	p.RequestID, ex.problem = ex.id, p
	return p
}

// fieldOf gives the place of a mistake the way the user wrote it. The value is
// left out: it may be a secret.
func fieldOf(err error) fault.Field {
	var d huma.ErrorDetailer
	if !errors.As(err, &d) {
		return fault.Field{Message: "can't be read"}
	}
	detail := d.ErrorDetail()
	path := strings.TrimPrefix(strings.TrimPrefix(detail.Location, "body"), ".")
	return fault.Field{Path: path, Message: detail.Message}
}

// init makes the HTTP framework answer with our problems. It has one hook for
// the whole program; which server is meant stands in the request's context.
func init() {
	huma.DefaultArrayNullable = false
	huma.ValidateStrictCasing = true
	huma.NewError = func(status int, msg string, _ ...error) huma.StatusError {
		return newProblem(status, fault.New(fault.Invalid, "request.refused", "%s", msg))
	}
	huma.NewErrorWithContext = func(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
		if ctx == nil {
			return huma.NewError(status, msg, errs...)
		}
		return exchangeOf(ctx.Context()).door.fromHuma(ctx.Context(), status, msg, errs)
	}
}
