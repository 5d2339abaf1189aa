// Package promserver keeps time series in, and asks them of, a server outside
// that speaks the HTTP API of Prometheus. Samples are sent by remote write where
// the server takes them; where it does not, it is only read.
package promserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/lifecycle"
	"github.com/waooaw/platform-portal/internal/metrics"
)

// Config says where the server is.
type Config struct {
	URL    string // up to the /api/v1, with user and password where it needs them
	Limits metrics.Limits
	Now    func() time.Time
	Log    *slog.Logger // nil means slog.Default()
}

// Client is one server outside. It is a lifecycle.Service that sends samples in
// the background.
type Client struct {
	cfg     Config
	base    *url.URL
	http    *http.Client
	running chan struct{}
	loop    lifecycle.Loop

	mu      sync.Mutex
	queue   []metrics.Sample
	lost    int
	wake    chan struct{}
	mode    mode
	problem error // why the last sending failed; nil if it did not
}

// mode is what is known of the server's remote write.
type mode int

const (
	unknown mode = iota
	writes
	readsOnly
)

var (
	_ metrics.Querier  = (*Client)(nil)
	_ metrics.Appender = (*Client)(nil)
	_ metrics.Catalog  = (*Client)(nil)
)

// maxAnswer bounds what is read of an answer.
const maxAnswer = 128 << 20

// New makes a client; nothing is asked before the first use. Faults: Invalid for
// an address that can't be.
func New(cfg Config) (*Client, error) {
	base, err := url.Parse(cfg.URL)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fault.New(fault.Invalid, "metrics.url", "The address of the metrics server can't be used").
			At(fault.Field{Path: "metrics.url", Message: "must be as in http://prometheus.example.com:9090"})
	}
	base.Path = strings.TrimSuffix(strings.TrimSuffix(base.Path, "/"), "/api/v1")
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Limits = cfg.Limits.Complete()
	return &Client{
		cfg: cfg, base: base, running: make(chan struct{}, cfg.Limits.Queries), wake: make(chan struct{}, 1),
		http: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}, nil
}

// at gives the address of a path of the API.
func (c *Client) at(path string) string {
	u := *c.base
	u.User = nil
	u.Path += "/api/v1" + path
	return u.String()
}

// envelope is what every answer of the API comes in.
type envelope struct {
	Status    string          `json:"status"`
	Data      json.RawMessage `json:"data"`
	ErrorType string          `json:"errorType"`
	Error     string          `json:"error"`
	Warnings  []string        `json:"warnings"`
	Infos     []string        `json:"infos"`
}

// Instant implements metrics.Querier.
func (c *Client) Instant(ctx context.Context, expr string, at time.Time) (metrics.Result, error) {
	if err := c.cfg.Limits.CheckExpr(expr); err != nil {
		return metrics.Result{}, err
	}
	return c.query(ctx, "/query", expr, url.Values{"query": {expr}, "time": {unix(at)}})
}

// Range implements metrics.Querier.
func (c *Client) Range(ctx context.Context, expr string, r metrics.Range) (metrics.Result, error) {
	if err := errors.Join(c.cfg.Limits.CheckRange(r), c.cfg.Limits.CheckExpr(expr)); err != nil {
		return metrics.Result{}, fault.As(err)
	}
	return c.query(ctx, "/query_range", expr, url.Values{
		"query": {expr}, "start": {unix(r.Start)}, "end": {unix(r.End)}, "step": {strconv.FormatFloat(r.Step.Seconds(), 'f', -1, 64)},
	})
}

func unix(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }

func (c *Client) query(ctx context.Context, path, expr string, form url.Values) (metrics.Result, error) {
	form.Set("timeout", c.cfg.Limits.Timeout.String())
	e, err := c.ask(ctx, path, form)
	if err != nil {
		return metrics.Result{}, c.misread(expr, err)
	}
	r, err := resultOf(e.Data, c.cfg.Limits)
	r.Warnings = append(e.Warnings, e.Infos...)
	return r, err
}

// refused is an error that the server gave by the rules of its API.
type refused struct{ kind, text string }

func (r refused) Error() string { return r.text }

// ask posts a form, which has no limit on the length of an address.
func (c *Client) ask(ctx context.Context, path string, form url.Values) (envelope, error) {
	return c.exchange(ctx, http.MethodPost, path, form)
}

func (c *Client) exchange(ctx context.Context, method, path string, form url.Values) (envelope, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Limits.Timeout+2*time.Second)
	defer cancel()
	select {
	case c.running <- struct{}{}:
		defer func() { <-c.running }()
	case <-ctx.Done():
		return envelope{}, metrics.TooBusy()
	}
	address, body := c.at(path), io.Reader(strings.NewReader(form.Encode()))
	if method == http.MethodGet {
		address, body = address+"?"+form.Encode(), nil
	}
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return envelope{}, c.away(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	c.sign(req)
	resp, err := c.http.Do(req)
	if err != nil {
		return envelope{}, c.away(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return envelope{}, c.away(err)
	case len(data) > maxAnswer:
		return envelope{}, metrics.TooLong(c.cfg.Limits)
	}
	var e envelope
	if err := json.Unmarshal(data, &e); err != nil || e.Status == "" {
		return envelope{}, c.away(fmt.Errorf("status %d, and no answer of the API of Prometheus", resp.StatusCode))
	}
	if e.Status != "success" {
		return envelope{}, refused{e.ErrorType, e.Error}
	}
	return e, nil
}

// sign adds what the address says of who asks.
func (c *Client) sign(req *http.Request) {
	req.Header.Set("User-Agent", "platform-portal")
	if u := c.base.User; u != nil {
		password, _ := u.Password()
		req.SetBasicAuth(u.Username(), password)
	}
}

// away is the fault of a server that does not answer as it should. The address
// may hold a password and is shown without.
func (c *Client) away(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fault.New(fault.Unavailable, "metrics.server", "The metrics server at %s does not answer", c.base.Host).
		Because("%v", err).Do("Check that it runs and that metrics.url leads to it.").Wrap(err)
}

// misread turns what the server refused into a fault.
func (c *Client) misread(expr string, err error) error {
	var r refused
	if !errors.As(err, &r) {
		return err
	}
	switch r.kind {
	case "bad_data":
		line, column, text := place(r.text)
		if line == 0 {
			return metrics.Misread(expr, -1, text)
		}
		return metrics.Misread(expr, offset(expr, line, column), text)
	case "timeout":
		return metrics.TooSlow(c.cfg.Limits)
	case "execution":
		if strings.Contains(r.text, "too many samples") {
			return metrics.TooMuch(c.cfg.Limits)
		}
		return metrics.Misread(expr, -1, r.text)
	}
	return c.away(errors.New(r.text))
}

// place takes the place out of a message such as
// `invalid parameter "query": 1:4: parse error: unexpected end of input`.
func place(text string) (line, column int, rest string) {
	_, tail, found := strings.Cut(text, `"query": `)
	if !found {
		tail = text
	}
	parts := strings.SplitN(tail, ":", 3)
	if len(parts) != 3 {
		return 0, 0, text
	}
	line, err1 := strconv.Atoi(parts[0])
	column, err2 := strconv.Atoi(parts[1])
	if err1 != nil || err2 != nil {
		return 0, 0, text
	}
	return line, column, strings.TrimPrefix(strings.TrimSpace(parts[2]), "parse error: ")
}

// offset gives the byte at a place in an expression.
func offset(expr string, line, column int) int {
	at := 0
	for ; line > 1; line-- {
		n := strings.IndexByte(expr[at:], '\n')
		if n < 0 {
			break
		}
		at += n + 1
	}
	return min(at+max(0, column-1), len(expr))
}

// Series implements metrics.Catalog.
func (c *Client) Series(ctx context.Context, s metrics.Selection) ([]map[string]string, error) {
	out := []map[string]string{}
	err := c.browse(ctx, "/series", s, &out)
	return out[:min(len(out), s.Most())], err
}

// LabelNames implements metrics.Catalog.
func (c *Client) LabelNames(ctx context.Context, s metrics.Selection) ([]string, error) {
	out := []string{}
	err := c.browse(ctx, "/labels", s, &out)
	return out[:min(len(out), s.Most())], err
}

// LabelValues implements metrics.Catalog.
func (c *Client) LabelValues(ctx context.Context, name string, s metrics.Selection) ([]string, error) {
	out := []string{}
	err := c.browse(ctx, "/label/"+url.PathEscape(name)+"/values", s, &out)
	return out[:min(len(out), s.Most())], err
}

func (c *Client) browse(ctx context.Context, path string, s metrics.Selection, into any) error {
	form := url.Values{"start": {unix(s.Start)}, "end": {unix(s.End)}, "limit": {strconv.Itoa(s.Most())}}
	if len(s.Match) > 0 {
		form["match[]"] = s.Match
	}
	e, err := c.exchange(ctx, http.MethodGet, path, form)
	if err != nil {
		return c.misread(strings.Join(s.Match, " "), err)
	}
	return json.NewDecoder(bytes.NewReader(e.Data)).Decode(into)
}
