package logdb

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/logs"
)

// external is a VictoriaLogs server. How long it keeps entries is its own affair.
type external struct {
	base   *url.URL
	client *http.Client
}

const (
	insertTime  = 30 * time.Second
	rowMost     = 4 << 20 // bytes of one entry in an answer
	answerMost  = 256 << 20
	problemMost = 2_000
)

func newExternal(cfg Config) (*external, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fault.New(fault.Invalid, "logs.url", "The address of the log server can't be used").
			Because("it is not http://HOST:PORT or https://HOST:PORT").At(fault.Field{Path: "logs.url", Message: "must be the address of a VictoriaLogs server"})
	}
	return &external{base: u, client: &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 8, ResponseHeaderTimeout: insertTime, IdleConnTimeout: time.Minute, Proxy: http.ProxyFromEnvironment},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (e *external) start() error { return nil }

func (e *external) stop(context.Context) error {
	e.client.CloseIdleConnections()
	return nil
}

// where is the address without credentials.
func (e *external) where() string { return e.base.Scheme + "://" + e.base.Host }

func (e *external) post(ctx context.Context, path string, values url.Values, kind string, body io.Reader) (*http.Response, error) {
	u := e.base.JoinPath(path)
	u.RawQuery = values.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), body)
	if err != nil {
		return nil, e.silent(err)
	}
	r.Header.Set("Content-Type", kind)
	answer, err := e.client.Do(r)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, e.silent(err)
	}
	if answer.StatusCode/100 == 2 {
		return answer, nil
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, problemMost))
	if answer.StatusCode == http.StatusBadRequest && strings.HasPrefix(path, "/select") {
		return nil, misunderstood(errors.New(strings.TrimSpace(string(text))))
	}
	return nil, fault.New(fault.Unavailable, "logs.server", "The log server does not do what it is asked").
		Because("%s answers with status %d", e.where(), answer.StatusCode).Do("Look at the log server.").Wrap(errors.New(string(text)))
}

// silent explains that there is no answer. The cause may hold the address with
// credentials and is for the log alone.
func (e *external) silent(err error) error {
	why := "it can't be reached"
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
		if u.Timeout() {
			why = "it does not answer in time"
		}
	}
	return fault.New(fault.Unavailable, "logs.server", "The log server does not answer").Because("%s: %s", e.where(), why).
		Do("See whether it runs, and whether logs.url names it. Nothing is lost: what agents write stays in their files and is taken in then.").Wrap(err)
}

func (e *external) insert(ctx context.Context, batch []logs.Entry) error {
	ctx, cancel := context.WithTimeout(ctx, insertTime)
	defer cancel()
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	var fields []logstorage.Field
	for i := range batch {
		fields = fieldsOf(fields[:0], &batch[i])
		row := make(map[string]string, len(fields)+1)
		for _, f := range fields {
			row[f.Name] = f.Value
		}
		row[fieldTime] = stamp(batch[i].At)
		if err := enc.Encode(row); err != nil {
			return err
		}
	}
	values := url.Values{"_stream_fields": {fieldAgent + "," + fieldInstance + "," + fieldStream}, "_time_field": {fieldTime}, "_msg_field": {fieldText}}
	answer, err := e.post(ctx, "/insert/jsonline", values, "application/stream+json", &body)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(answer.Body, problemMost))
	return err
}

// sync has nothing to do: what the server acknowledged does not depend on the
// portal any more.
func (e *external) sync(context.Context) error { return nil }

// flush makes what the server took in visible to queries.
func (e *external) flush(ctx context.Context) error {
	answer, err := e.post(ctx, "/internal/force_flush", nil, "text/plain", nil)
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

func (e *external) query(ctx context.Context, text string, row func(get func(name string) string, each func(func(name, value string))) error) error {
	values := url.Values{"query": {text}}
	if until, ok := ctx.Deadline(); ok {
		values.Set("timeout", fmt.Sprintf("%dms", max(1, time.Until(until).Milliseconds())))
	}
	answer, err := e.post(ctx, "/select/logsql/query", nil, "application/x-www-form-urlencoded", strings.NewReader(values.Encode()))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(io.LimitReader(answer.Body, answerMost))
	lines.Buffer(make([]byte, 64<<10), rowMost)
	for lines.Scan() {
		var fields map[string]string
		if err := json.Unmarshal(lines.Bytes(), &fields); err != nil {
			return e.silent(fmt.Errorf("answer: %w", err))
		}
		get := func(name string) string { return fields[name] }
		each := func(fn func(name, value string)) {
			for name, value := range fields {
				fn(name, value)
			}
		}
		if err := row(get, each); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return e.silent(err)
	}
	return nil
}

func (e *external) status(ctx context.Context) logs.Status {
	out := logs.Status{Where: e.where()}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	err := e.query(ctx, "_time:1s | stats count() hits", func(func(string) string, func(func(string, string))) error { return nil })
	if f := fault.As(err); f != nil {
		out.Problem, out.Remedy = f.What+": "+f.Why, f.Remedy
	} else if err != nil {
		out.Problem = "The log server does not answer in time"
	}
	return out
}
