package promserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/metrics"
)

const (
	maxQueue   = 500_000 // samples that wait, about four minutes of 1,000 agents
	batchSize  = 5_000
	writeTime  = 15 * time.Second
	longestGap = 30 * time.Second // between two tries
	probeAgain = 10 * time.Minute // whether a server that only reads has come to write
)

// Append implements metrics.Appender: samples wait in memory until they are sent.
func (c *Client) Append(_ context.Context, samples []metrics.Sample) error {
	for _, s := range samples {
		if err := metrics.CheckLabels(s.Labels); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mode == readsOnly {
		return nil // it is said once, where people look; see Note
	}
	c.queue = append(c.queue, samples...)
	if over := len(c.queue) - maxQueue; over > 0 {
		c.lost += over
		c.queue = slices.Delete(c.queue, 0, over)
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return nil
}

// Name is "metrics server".
func (c *Client) Name() string { return "metrics server" }

// Start begins to send.
func (c *Client) Start(context.Context) error { return c.loop.Go(c.send) }

// Stop sends what waits, once, and ends.
func (c *Client) Stop(ctx context.Context) error { return c.loop.Halt(ctx) }

// send writes batches in order. A batch that can't be sent is tried again with
// growing pauses while the next ones wait.
func (c *Client) send(ctx context.Context) {
	var gap time.Duration
	for {
		batch := c.next()
		if len(batch) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-c.wake:
			case <-time.After(probeAgain):
				c.lookAgain()
			}
			continue
		}
		err := c.write(ctx, batch)
		if ctx.Err() != nil {
			// The last batch is worth one more try within the time of the stop.
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			_ = c.write(last, batch) // nobody is left to tell
			cancel()
			return
		}
		c.note(err)
		var refusal permanent
		if err == nil || errors.As(err, &refusal) {
			c.done(len(batch))
			gap = 0
			continue
		}
		gap = min(max(time.Second, 2*gap), longestGap)
		select {
		case <-ctx.Done():
			return
		case <-time.After(gap):
		}
	}
}

func (c *Client) next() []metrics.Sample {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mode == readsOnly {
		c.queue = nil
	}
	return slices.Clone(c.queue[:min(len(c.queue), batchSize)])
}

// done takes sent samples off the queue; some may have been pushed out meanwhile.
func (c *Client) done(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n = max(0, n-c.lost)
	c.lost = 0
	c.queue = slices.Delete(c.queue, 0, min(n, len(c.queue)))
}

func (c *Client) lookAgain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mode == readsOnly {
		c.mode = unknown
	}
}

// permanent is a refusal that another try does not change.
type permanent struct{ error }

// note remembers and tells once whether sending works.
func (c *Client) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil && c.problem == nil:
		c.cfg.Log.Warn("samples can't be sent to the metrics server", "host", c.base.Host, "err", err)
	case err == nil && c.problem != nil:
		c.cfg.Log.Info("samples are sent to the metrics server again", "host", c.base.Host)
	}
	c.problem = err
}

// write sends one batch by remote write.
func (c *Client) write(ctx context.Context, batch []metrics.Sample) error {
	body, err := encode(batch)
	if err != nil {
		return permanent{err}
	}
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.at("/write"), bytes.NewReader(body))
	if err != nil {
		return permanent{err}
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("Content-Encoding", "snappy")
	req.Header.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
	c.sign(req)
	resp, err := c.http.Do(req)
	if err != nil {
		return c.away(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 300)) // for the log
	switch code := resp.StatusCode; {
	case code/100 == 2:
		c.became(writes)
		return nil
	case code == http.StatusNotFound || code == http.StatusMethodNotAllowed || code == http.StatusNotImplemented || code == http.StatusForbidden:
		c.became(readsOnly)
		return nil
	case code == http.StatusTooManyRequests || code >= 500:
		return fmt.Errorf("status %d: %s", code, strings.TrimSpace(string(text)))
	case code == http.StatusBadRequest && (bytes.Contains(text, []byte("out of order")) || bytes.Contains(text, []byte("duplicate sample"))):
		return nil // it has them, or later ones
	default:
		return permanent{fmt.Errorf("status %d: %s", code, strings.TrimSpace(string(text)))}
	}
}

func (c *Client) became(m mode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mode != m && m == readsOnly {
		c.cfg.Log.Warn("the metrics server does not take samples; it is only read", "host", c.base.Host,
			"remedy", "let it take remote writes (Prometheus: --web.enable-remote-write-receiver), or let it scrape the agents")
	}
	c.mode = m
}

// encode writes the message of remote write, a series for each sample.
func encode(batch []metrics.Sample) ([]byte, error) {
	var req prompb.WriteRequest
	for _, s := range batch {
		series := prompb.TimeSeries{Samples: []prompb.Sample{{Value: s.Value, Timestamp: s.At.UnixMilli()}}}
		for name, value := range s.Labels {
			series.Labels = append(series.Labels, prompb.Label{Name: name, Value: value})
		}
		slices.SortFunc(series.Labels, func(a, b prompb.Label) int { return strings.Compare(a.Name, b.Name) })
		req.Timeseries = append(req.Timeseries, series)
	}
	data, err := req.Marshal()
	if err != nil {
		return nil, err
	}
	return snappy.Encode(nil, data), nil
}

// Waiting tells how many samples have not been sent yet.
func (c *Client) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queue)
}

// Note says what is to be known of the server; "" for nothing.
func (c *Client) Note(context.Context) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.mode == readsOnly:
		return "The metrics server at " + c.base.Host + " is only read: it does not take what the portal measures. Charts show what it scrapes by itself."
	case c.problem != nil:
		return "The metrics server at " + c.base.Host + " does not take samples at the moment. They wait, and the oldest are lost if that goes on for minutes."
	}
	return ""
}

// Ping tells whether the server answers.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.Instant(ctx, "1", c.cfg.Now())
	if f := fault.As(err); f != nil {
		return f
	}
	return err
}
