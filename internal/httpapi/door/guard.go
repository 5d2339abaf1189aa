package door

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
)

func withExchange(ctx context.Context, ex *exchange) context.Context {
	return context.WithValue(ctx, exchangeKey{}, ex)
}

// requestTime bounds the reading of a request and the writing of its answer.
const requestTime = time.Minute

// guard is between the router and every handler: who asks, may they, and how
// much do they send. What was refused goes on record.
func (d *Door) guard(route *Route, next http.Handler) http.Handler {
	next = d.waiting(route, d.once(route, next))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ex := exchangeOf(r.Context())
		ex.route = route
		ctx, trace := audit.WithTrace(r.Context())
		deadlines(w, route)
		ctx, err := d.admit(audit.WithActor(ctx, actorOf(ex)), ex, r)
		r = r.WithContext(ctx)
		if err == nil {
			err = d.readBody(w, r, route)
		}
		// From here on only the end of the connection is read.
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
		if err == nil {
			err = d.rotate(ctx, w, ex)
		}
		if err != nil {
			d.Fail(w, r, err)
		} else {
			next.ServeHTTP(w, r)
		}
		d.onRecord(ctx, ex, r, trace)
	})
}

// deadlines keeps clients that dawdle from holding connections.
func deadlines(w http.ResponseWriter, route *Route) {
	control := http.NewResponseController(w)
	// Not every writer has deadlines; tests use one that has none.
	_ = control.SetReadDeadline(time.Now().Add(requestTime))
	until := time.Now().Add(requestTime + maxWait)
	if route.Stream {
		until = time.Time{} // the handler bounds each write
	}
	_ = control.SetWriteDeadline(until)
}

// admit finds out who asks and whether the route is for them.
func (d *Door) admit(ctx context.Context, ex *exchange, r *http.Request) (context.Context, error) {
	if ex.route.Stream && r.Method == http.MethodHead {
		return ctx, newProblem(http.StatusMethodNotAllowed, fault.New(fault.Invalid, "request.method", "HEAD does not go with an answer without end"))
	}
	if ex.route.Public {
		if ex.route.Mutation() {
			return ctx, d.stranger(ex, r)
		}
		return ctx, nil
	}
	who, again, err := d.authenticate(ctx, ex, r)
	from, request := ex.who.From, ex.who.Request
	ex.who = who
	ex.who.From, ex.who.Request = from, request
	ctx = audit.WithActor(ctx, actorOf(ex))
	if err != nil {
		return ctx, err
	}
	ctx = auth.WithRecheck(auth.With(ctx, ex.who), again)
	if ex.session != "" && ex.route.Mutation() {
		if err := d.sameSite(r); err != nil {
			return ctx, err
		}
	}
	if !ex.route.Role.Valid() || !who.Role.Includes(ex.route.Role) {
		return ctx, fault.New(fault.Forbidden, "auth.role", "You may not do this").
			Because("it needs the role %s and you have %s", ex.route.Role, who.Role).
			Do("Ask an administrator.").With("needs", ex.route.Role)
	}
	return ctx, nil
}

// rotate gives the browser a new secret of its session when it is time to. An
// answer without end may be cut before its headers are kept, so it brings none.
func (d *Door) rotate(ctx context.Context, w http.ResponseWriter, ex *exchange) error {
	if ex.session == "" || ex.route.Stream {
		return nil
	}
	fresh, err := d.cfg.Auth.RotateSession(ctx, ex.session, ex.who.Role)
	if err != nil || fresh == "" {
		return err
	}
	ex.session = fresh
	http.SetCookie(w, d.Cookie(ex.secure, fresh))
	return nil
}

// authenticate gives who asks and how to ask that again later.
func (d *Door) authenticate(ctx context.Context, ex *exchange, r *http.Request) (auth.Principal, func(context.Context) (auth.Principal, error), error) {
	head := r.Header.Values("Authorization")
	cookie, cookieErr := r.Cookie(cookieName(ex.secure))
	switch {
	case len(head) == 1:
		scheme, secret, _ := strings.Cut(head[0], " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return auth.Principal{}, nil, d.wrongCredentials(ex, fault.New(fault.Unauthenticated, "auth.scheme", "This kind of sign-in is not known").
				Do("Send Authorization: Bearer TOKEN."))
		}
		secret = strings.TrimSpace(secret)
		who, err := d.cfg.Auth.Authenticate(ctx, secret)
		return who, func(ctx context.Context) (auth.Principal, error) { return d.cfg.Auth.Authenticate(ctx, secret) }, d.wrongCredentials(ex, err)
	case len(head) > 1:
		return auth.Principal{}, nil, d.wrongCredentials(ex, fault.New(fault.Unauthenticated, "auth.scheme", "There are several Authorization headers").
			Do("Send one."))
	case cookieErr == nil:
		who, err := d.cfg.Auth.SessionPrincipal(ctx, cookie.Value)
		ex.session = cookie.Value
		// The secret may change while the answer goes on; the session stays.
		return who, func(ctx context.Context) (auth.Principal, error) { return d.cfg.Auth.CheckSession(ctx, who.Session) }, d.wrongCredentials(ex, err)
	}
	return auth.Principal{}, nil, fault.New(fault.Unauthenticated, "auth.required", "This needs a sign-in").
		Do("Send Authorization: Bearer TOKEN, or open the sign-in link that the portal printed.")
}

// wrongCredentials marks the answer to credentials that are not valid. An
// address that tries too many gets to wait; good credentials never do.
func (d *Door) wrongCredentials(ex *exchange, err error) error {
	if !fault.Is(err, fault.Unauthenticated) {
		return err
	}
	if !d.failures.allow(ex.who.From) {
		return fault.New(fault.RateLimited, "auth.too_many_failures", "There were too many failed sign-ins from your address").
			Do("Wait a moment, then use a valid token.")
	}
	p := newProblem(http.StatusUnauthorized, fault.As(err))
	p.set("WWW-Authenticate", `Bearer realm="platform-portal", error="invalid_token"`)
	return p
}

// stranger looks at a change that needs no sign-in: signing in itself.
func (d *Door) stranger(ex *exchange, r *http.Request) error {
	if !d.strangers.allow(ex.who.From) {
		return fault.New(fault.RateLimited, "auth.too_many_requests", "There were too many requests from your address").
			Do("Wait a moment, then try again.")
	}
	return d.sameSite(r)
}

// sameSite refuses what another site's page made the browser send.
func (d *Door) sameSite(r *http.Request) error {
	if err := d.crossOrigin.Check(r); err != nil {
		return fault.New(fault.Forbidden, "auth.cross_site", "The request comes from another site").
			Because("a browser sent it on behalf of a page that is not the portal's").
			Do("Programs send Authorization: Bearer TOKEN instead of a cookie.").Wrap(err)
	}
	return nil
}

// accepted are the content types that bodies may have. The last four are what
// simple clients send without being told; the body is read all the same.
var accepted = map[string]bool{
	"application/json": true, "application/merge-patch+json": true,
	"application/yaml": true, "application/x-yaml": true, "text/yaml": true, "text/x-yaml": true,
	"": true, "text/plain": true, "application/octet-stream": true, "application/x-www-form-urlencoded": true,
}

// readBody takes in the whole body, within the route's limit, before anything
// else is done with it.
func (d *Door) readBody(w http.ResponseWriter, r *http.Request, route *Route) error {
	if route.Method == http.MethodGet {
		r.Body = http.NoBody
		return nil
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return newProblem(http.StatusUnsupportedMediaType, fault.New(fault.Invalid, "request.content_encoding", "Compressed bodies are not understood").
			Do("Send the body without Content-Encoding."))
	}
	limit := route.MaxBody()
	if r.ContentLength > limit {
		return refuseBody(w, r, limit)
	}
	// One byte more than the limit tells whether there is more.
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err == nil && int64(len(body)) > limit {
		return refuseBody(w, r, limit)
	}
	if err != nil {
		return fault.New(fault.Invalid, "request.body", "The request's body did not arrive whole").Do("Send it again.").Wrap(err)
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil && r.Header.Get("Content-Type") != "" || !accepted[kind] {
		return newProblem(http.StatusUnsupportedMediaType, fault.New(fault.Invalid, "request.content_type", "This content type is not understood").
			Do("Send Content-Type: application/json."))
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if route.Page {
		keyOfForm(r, kind, body)
		return nil
	}
	if route.Form && kind == formType {
		if body, err = jsonOfForm(body); err != nil {
			return err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	r.Header.Set("Content-Type", "application/json") // how it is read is the handler's business now
	return nil
}

// jsonOfForm makes the JSON that says the same as a form.
func jsonOfForm(body []byte) ([]byte, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, fault.New(fault.Invalid, "request.body", "The form can't be read").Do("Send name=value pairs.")
	}
	fields := map[string]string{}
	for name, values := range form {
		if len(values) != 1 {
			return nil, Invalid(name, "is there more than once")
		}
		fields[name] = values[0]
	}
	return json.Marshal(fields)
}

// What is left of a body that is too large is read a little further: a client
// that is still sending when the connection closes sees a broken connection
// instead of the answer.
const (
	lingerBytes = 4 << 20
	lingerTime  = 2 * time.Second
)

func refuseBody(w http.ResponseWriter, r *http.Request, limit int64) error {
	w.Header().Set("Connection", "close") // or all the rest would have to be read
	if http.NewResponseController(w).SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, r.Body, lingerBytes) // whatever comes of it
	}
	return bodyTooLarge(limit)
}

// onRecord writes the audit entry of an attempt that was refused, unless the
// service that refused it has done so.
func (d *Door) onRecord(ctx context.Context, ex *exchange, r *http.Request, trace *audit.Trace) {
	p := ex.problem
	if p == nil || p.Status >= 500 || p.Status < 400 || p.Status == statusGone || trace.Refused() {
		return
	}
	access := p.Status == http.StatusUnauthorized || p.Status == http.StatusForbidden
	if p.Status == http.StatusTooManyRequests || !access && !ex.route.Mutation() {
		return
	}
	// Anybody can be refused as often as they like; the record is not theirs to fill.
	if ex.who.Role == auth.Nobody && !d.refusals.allow(ex.who.From) {
		return
	}
	target := r.URL.Path
	if ex.route.Hidden {
		target = ex.route.Path
	}
	if d.cfg.Recorder == nil {
		return
	}
	if err := d.cfg.Recorder.Record(context.WithoutCancel(ctx), ex.route.ID, target, audit.Refused, p.Code+": "+p.Detail, nil, nil); err != nil {
		d.log.ErrorContext(ctx, "a refused attempt could not be recorded", "request_id", ex.id, "error", err)
	}
}

// perAddress limits something for each address. What it remembers is bounded:
// of the addresses that were last seen long ago it forgets.
type perAddress struct {
	every rate.Limit
	burst int

	mu       sync.Mutex
	now, old map[string]*rate.Limiter
}

// maxAddresses is how many addresses each of the two generations holds.
const maxAddresses = 4096

func (p *perAddress) allow(address string) bool {
	p.mu.Lock()
	l := p.now[address]
	if l == nil {
		if l = p.old[address]; l == nil {
			l = rate.NewLimiter(p.every, p.burst)
		}
		if p.now == nil || len(p.now) >= maxAddresses {
			p.now, p.old = map[string]*rate.Limiter{}, p.now
		}
		p.now[address] = l
	}
	p.mu.Unlock()
	return l.Allow()
}
