// Package scrape gets the figures of running instances: it asks for their
// GET /metrics and reads the Prometheus text format. Nothing
// that an instance answers may cost more than a little time and memory.
package scrape

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/metrics"
)

// The limits where a Client sets none.
const (
	defaultTimeout   = 2 * time.Second
	defaultMaxBytes  = 4 << 20
	defaultMaxSeries = 5000
)

// Client is a metrics.Source over HTTP. The zero value is ready.
type Client struct {
	Timeout   time.Duration // of one question; 0 means 2 s
	MaxBytes  int           // of a page; 0 means 4 MiB
	MaxSeries int           // of a page; 0 means 5,000
}

var _ metrics.Source = Client{}

// Page asks one instance. What is over a limit is refused as a whole, with the
// metric that is to blame named.
func (c Client) Page(ctx context.Context, t metrics.Target) (metrics.Page, error) {
	timeout := def(c.Timeout, defaultTimeout)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	address, err := agent.Address(t.Host, t.Port)
	if err != nil {
		return metrics.Page{}, none("%v", err)
	}
	body, err := c.get(ctx, address)
	if err != nil && ctx.Err() != nil {
		return metrics.Page{}, fmt.Errorf("GET /metrics: no answer within %s", timeout)
	}
	if err != nil {
		return metrics.Page{}, err
	}
	return c.read(body)
}

func def[T int | time.Duration](v, otherwise T) T {
	if v <= 0 {
		return otherwise
	}
	return v
}

// none says that the instance has no figures, and how that shows.
func none(why string, args ...any) error {
	return fmt.Errorf("%w: %s", metrics.ErrNone, fmt.Sprintf(why, args...))
}

// refuse is the error of a page that is not taken; metric is to blame.
func refuse(metric, why string, args ...any) *metrics.Refusal {
	return &metrics.Refusal{Why: fmt.Sprintf(why, args...), Metric: metric}
}

// get reads the page of the instance at the address. It dials nothing else,
// whatever the answer says; a redirect is an answer, not an order.
func (c Client) get(ctx context.Context, address string) ([]byte, error) {
	// A connection of its own each time: one that is kept open would occupy an
	// agent that serves one client at a time.
	transport := &http.Transport{
		Proxy: nil,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dial(ctx, address)
		},
		DisableKeepAlives:      true,
		DisableCompression:     true, // a small answer must not become a large one
		MaxResponseHeaderBytes: 16 << 10,
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, none("%s is not an address", address)
	}
	req.Header.Set("User-Agent", "platform-portal-metrics")
	req.Header.Set("Accept", "text/plain;version=0.0.4;charset=utf-8")
	resp, err := transport.RoundTrip(req)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, none("nothing listens on %s", address)
	case err != nil:
		return nil, fmt.Errorf("GET /metrics: %s", plain(err))
	}
	defer resp.Body.Close()
	if err := answered(resp); err != nil {
		return nil, err
	}
	limit := def(c.MaxBytes, defaultMaxBytes)
	body, err := io.ReadAll(io.LimitReader(resp.Body, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("GET /metrics: the answer broke off: %s", plain(err))
	}
	if len(body) > limit {
		most := largest(body, true)
		return nil, refuse(most, "GET /metrics: the page is over %d KiB, most of it %s", limit>>10, most)
	}
	return body, nil
}

// dial connects without leaving a socket in TIME_WAIT for each question.
func dial(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	return conn, err
}

// answered tells whether the answer is a page.
func answered(resp *http.Response) error {
	switch code := resp.StatusCode; {
	case code >= 500 && code != http.StatusNotImplemented || code == http.StatusTooManyRequests:
		return fmt.Errorf("GET /metrics: %d", code)
	case code != http.StatusOK:
		return none("GET /metrics answers %d", code)
	}
	if e := resp.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return errors.New("GET /metrics: the answer is compressed, which was not asked for")
	}
	return nil
}

// plain gives the innermost reason, without the addresses that wrap it.
func plain(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	text := err.Error()
	if i := strings.LastIndex(text, ": "); i >= 0 {
		text = text[i+2:]
	}
	return shown(text)
}

// shown makes text of an agent fit to be shown: short, and without control
// characters or what reverses the direction of writing.
func shown(text string) string {
	const most = 100
	text = strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return '?'
	}, strings.ToValidUTF8(text, "?"))
	if r := []rune(text); len(r) > most {
		text = string(r[:most]) + "…"
	}
	return text
}

// nameOf gives the name of the metric that a line is about.
func nameOf(line []byte) []byte {
	if rest, ok := bytes.CutPrefix(line, []byte("# TYPE ")); ok {
		line = rest
	} else if len(line) > 0 && line[0] == '#' {
		return nil
	}
	if i := bytes.IndexAny(line, "{ \t"); i >= 0 {
		return line[:i]
	}
	return line
}

// largest names the metric with the most series, or bytes, of a page.
func largest(body []byte, inBytes bool) string {
	sizes := map[string]int{}
	var most string
	for line := range bytes.Lines(body) {
		name := nameOf(bytes.TrimSpace(line))
		if len(name) == 0 {
			continue
		}
		n := 1
		if inBytes {
			n = len(line)
		}
		if len(name) > 200 {
			name = name[:200]
		}
		sizes[string(name)] += n
		if sizes[string(name)] > sizes[most] {
			most = string(name)
		}
	}
	if most == "" {
		return "no metric at all"
	}
	return shown(most)
}
