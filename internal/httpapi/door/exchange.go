package door

import (
	"bytes"
	"context"
	"net/http"
	"time"

	"github.com/waooaw/platform-portal/internal/auth"
)

// exchange is what is known of one request on its way.
type exchange struct {
	door    *Door
	id      string // of the request
	route   *Route
	who     auth.Principal
	session string // secret of the session, if one authenticated the request
	problem *Problem
	secure  bool // the browser reaches the portal by TLS
	keep    any  // what is stored for an Idempotency-Key in place of the body
}

type exchangeKey struct{}

// exchangeOf gives the exchange of a request's context; an empty one outside
// of requests.
func exchangeOf(ctx context.Context) *exchange {
	if ex, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		return ex
	}
	return &exchange{}
}

// pattern is the route for logs and metrics.
func (ex *exchange) pattern() string {
	if ex.route == nil {
		return "none"
	}
	return ex.route.Path
}

// tracker remembers what was answered.
type tracker struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (t *tracker) WriteHeader(status int) {
	if t.status == 0 && status >= 200 || status == http.StatusSwitchingProtocols {
		t.status = status
	}
	if status == statusGone {
		status = http.StatusServiceUnavailable // for the log it is one thing, for whoever still listens another
	}
	t.ResponseWriter.WriteHeader(status)
}

func (t *tracker) Write(b []byte) (int, error) {
	if t.status == 0 {
		t.status = http.StatusOK
	}
	n, err := t.ResponseWriter.Write(b)
	t.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController and WebSockets through.
func (t *tracker) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// Patient is a writer of answers without end, for clients that read as slowly
// as they like but do read.
type Patient struct{ http.ResponseWriter }

// Write gives the client time for this much.
func (p Patient) Write(b []byte) (int, error) {
	// Not every writer has deadlines; those that have none have buffers.
	_ = http.NewResponseController(p.ResponseWriter).SetWriteDeadline(time.Now().Add(requestTime))
	return p.ResponseWriter.Write(b)
}

// recorder keeps an answer back until it is known that it holds.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newRecorder() *recorder { return &recorder{header: http.Header{}} }

func (rec *recorder) Header() http.Header { return rec.header }

func (rec *recorder) WriteHeader(status int) {
	if rec.status == 0 {
		rec.status = status
	}
}

func (rec *recorder) Write(b []byte) (int, error) {
	rec.WriteHeader(http.StatusOK)
	return rec.body.Write(b)
}

// send gives the answer that was kept back.
func (rec *recorder) send(w http.ResponseWriter) {
	for name, values := range rec.header {
		w.Header()[name] = values
	}
	w.WriteHeader(rec.status)
	_, _ = w.Write(rec.body.Bytes())
}
