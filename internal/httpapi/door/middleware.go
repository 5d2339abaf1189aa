package door

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
)

var requestID = regexp.MustCompile(`^[A-Za-z0-9._-]{8,64}$`)

// ServeHTTP does for every request what does not depend on its route.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	ex := &exchange{door: d, id: r.Header.Get("X-Request-Id")}
	if !requestID.MatchString(ex.id) {
		ex.id = d.newID()
	}
	ex.who.From, ex.who.Request, ex.secure = address(r), ex.id, d.secure(r)
	client := auth.Client{Address: ex.who.From, UserAgent: r.UserAgent()}
	if c, err := r.Cookie(cookieNamed(deviceCookie, ex.secure)); err == nil {
		client.Device = c.Value
	}
	ctx := auth.WithClient(withExchange(r.Context(), ex), client)
	t := &tracker{ResponseWriter: w}
	d.headers(t.Header(), ex)
	d.metrics.inFlight.Inc()
	defer func() {
		d.metrics.inFlight.Dec()
		d.finish(t, r, ex, start)
	}()
	defer d.rescue(t, r.WithContext(ctx))
	if err := d.checkHost(r); err != nil {
		d.Fail(t, r.WithContext(ctx), err)
		return
	}
	d.route(t, r.WithContext(ctx))
}

// route serves the request, or says in our form that there is nothing to serve.
func (d *Door) route(w http.ResponseWriter, r *http.Request) {
	handler, pattern := d.mux.Handler(r)
	if pattern != "" {
		d.mux.ServeHTTP(w, r)
		return
	}
	// The router writes plain text; only its status and Allow are of use.
	rec := newRecorder()
	handler.ServeHTTP(rec, r)
	allow := rec.header.Get("Allow")
	if rec.status == http.StatusMethodNotAllowed {
		p := newProblem(http.StatusMethodNotAllowed, fault.New(fault.Invalid, "request.method", "%s does not go with this address", method(r)).
			Do("Allowed here: %s.", allow))
		p.set("Allow", allow)
		d.Fail(w, r, p)
		return
	}
	d.Fail(w, r, fault.New(fault.NotFound, "request.no_route", "There is nothing at this address").
		Do("The API is described at /docs and /openapi.json."))
}

func method(r *http.Request) string {
	if len(r.Method) > 20 {
		return r.Method[:20]
	}
	return r.Method
}

// headers sets what every answer has; pages loosen the policy for themselves.
func (d *Door) headers(h http.Header, ex *exchange) {
	h.Set("X-Request-Id", ex.id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	if ex.secure {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

func (d *Door) secure(r *http.Request) bool { return d.cfg.Secure || r.TLS != nil }

// rescue answers a panic and logs it once.
func (d *Door) rescue(t *tracker, r *http.Request) {
	cause := recover()
	if cause == nil {
		return
	}
	if cause == http.ErrAbortHandler { //nolint:errorlint // it is compared as net/http does
		panic(cause)
	}
	p := d.internal(r.Context(), fmt.Errorf("panic: %v", cause), "stack", string(debug.Stack()))
	if t.status != 0 {
		panic(http.ErrAbortHandler) // half an answer is out: cut the connection, so that nobody takes it for a whole one
	}
	d.Fail(t, r, p)
}

// finish writes the access log and counts the request. Neither holds a query,
// a header or a body: they may carry secrets.
func (d *Door) finish(t *tracker, r *http.Request, ex *exchange, start time.Time) {
	status := t.status
	if status == 0 {
		status = http.StatusOK
	}
	took := time.Since(start)
	d.metrics.count(ex, r.Method, status, took)
	path := r.URL.Path
	if ex.route != nil && ex.route.Hidden {
		path = ex.route.Path
	}
	level := slog.LevelInfo
	if status >= 500 {
		level = slog.LevelWarn
	}
	d.log.Log(r.Context(), level, "request", "method", method(r), "path", path, "status", status, "bytes", t.bytes,
		"took", took.Round(time.Microsecond), "request_id", ex.id, "principal", ex.who.ID, "from", ex.who.From)
}

// checkHost refuses requests that a browser was tricked into sending here by a
// name that somebody else owns (DNS rebinding). On a loopback address only
// loopback names and the configured ones are right; elsewhere the configured
// ones, if there are any.
func (d *Door) checkHost(r *http.Request) error {
	host := strings.ToLower(r.Host)
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.Trim(host, "[]"), ".")
	if d.hosts[host] || isLoopback(host) {
		return nil
	}
	if !d.loopback && len(d.hosts) == 0 {
		return nil
	}
	return fault.New(fault.Forbidden, "request.host", "The portal is not known by this name").
		Because("the Host header names none of its hosts").
		Do("Use its address, or add the name to the setting hosts.")
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// address is where the request comes from, without the port.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// httpMetrics are the portal's own figures about requests.
type httpMetrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inFlight prometheus.Gauge
}

func newHTTPMetrics(reg prometheus.Registerer) *httpMetrics {
	m := &httpMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "portal_http_requests_total",
			Help: "Requests that were answered."}, []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "portal_http_request_duration_seconds",
			Help: "Time to the end of the answer; streams are left out.", Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30}},
			[]string{"method", "route"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "portal_http_requests_in_flight", Help: "Requests in work."}),
	}
	reg.MustRegister(m.requests, m.seconds, m.inFlight)
	return m
}

var methods = map[string]bool{"GET": true, "HEAD": true, "POST": true, "PATCH": true, "PUT": true, "DELETE": true, "OPTIONS": true}

func (m *httpMetrics) count(ex *exchange, method string, status int, took time.Duration) {
	if !methods[method] {
		method = "other" // clients must not make up labels
	}
	m.requests.WithLabelValues(method, ex.pattern(), strconv.Itoa(status)).Inc()
	if ex.route == nil || !ex.route.Stream {
		m.seconds.WithLabelValues(method, ex.pattern()).Observe(took.Seconds())
	}
}

// actorOf is who acts, for the audit log, before and after it is known.
func actorOf(ex *exchange) audit.Actor {
	id := ex.who.ID
	if id == "" {
		id = "anonymous"
	}
	return audit.Actor{ID: id, Role: string(ex.who.Role), From: ex.who.From, Request: ex.id}
}
