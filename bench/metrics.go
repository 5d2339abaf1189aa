package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/scrape"
	"github.com/waooaw/platform-portal/internal/tsdb"
)

const (
	meteredAgents = 1000
	meteredFor    = 45 * time.Second
)

// page is what a busy agent serves: 20 series.
func page() string {
	var b strings.Builder
	b.WriteString("# TYPE agent_tasks_total counter\n# TYPE agent_task_duration_seconds histogram\n")
	for _, status := range []string{"done", "failed"} {
		fmt.Fprintf(&b, "agent_tasks_total{status=%q} %d\n", status, time.Now().Unix())
	}
	for _, le := range []string{"0.1", "0.5", "1", "5", "30", "+Inf"} {
		fmt.Fprintf(&b, "agent_task_duration_seconds_bucket{le=%q} %d\n", le, time.Now().Unix())
	}
	b.WriteString("agent_task_duration_seconds_sum 5\nagent_task_duration_seconds_count 7\n")
	for i := range 10 {
		fmt.Fprintf(&b, "own_%d{part=\"x\"} %d\n", i, time.Now().UnixMicro())
	}
	return b.String()
}

// everyone are agents that share one port.
type everyone struct {
	port  int
	since time.Time
}

// Targets implements metrics.Targets.
func (e everyone) Targets(context.Context) ([]metrics.Target, error) {
	out := make([]metrics.Target, meteredAgents)
	for i := range out {
		id := fmt.Sprintf("agent-%d", i)
		out[i] = metrics.Target{AgentID: id, AgentName: id, InstanceID: id + "-r1-0", Run: "1", Port: e.port, StartedAt: e.since}
	}
	return out, nil
}

// measureMetrics asks and stores as the portal does with 1,000 agents, and then
// looks at an hour of one of them.
func measureMetrics(ctx context.Context, b *bench) error {
	log := slog.New(slog.DiscardHandler)
	db := tsdb.New(tsdb.Config{Dir: filepath.Join(b.dir, "tsdb"), Log: log})
	took, err := timed(func() error { return db.Start(ctx) })
	if err != nil {
		return err
	}
	defer db.Stop(context.WithoutCancel(ctx))
	opened, err := timed(func() error { _, err := db.Instant(ctx, "1", time.Now()); return err })
	if err != nil {
		return err
	}
	b.row("open an empty store of time series", "", "%s", round(took+opened))
	if err := b.meter(ctx, db, log); err != nil {
		return err
	}
	if err := hour(ctx, db); err != nil {
		return err
	}
	var four spread
	for range 20 {
		took, err := timed(func() error { return charts(ctx, db) })
		if err != nil {
			return err
		}
		four = append(four, took)
	}
	b.row("four charts of an agent's hour among 1,000", "< 20 ms", "%s", four)
	return nil
}

// meter asks the agents for a while and says what that costs, what serving
// their pages costs included.
func (b *bench) meter(ctx context.Context, db *tsdb.DB, log *slog.Logger) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, page()) })}
	go server.Serve(l)
	defer server.Close()
	s := &metrics.Scraper{
		Targets: everyone{l.Addr().(*net.TCPAddr).Port, time.Now()}, Source: scrape.Client{}, Windows: &metrics.Windows{Now: time.Now}, Into: db, Log: log,
	}
	if err := s.Start(ctx); err != nil {
		return err
	}
	defer s.Stop(context.WithoutCancel(ctx))
	for range 2 {
		before, start := spent(), time.Now()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(meteredFor):
		}
		share := (spent() - before).Seconds() / time.Since(start).Seconds() * 100
		r, err := db.Instant(ctx, `sum(up)`, time.Now())
		if err != nil || len(r.Series) != 1 {
			return fmt.Errorf("nothing was stored: %w", err)
		}
		if r.Series[0].Points[0].Value < meteredAgents {
			continue // they are still being asked for the first time
		}
		b.row("ask and store 1,000 agents × 20 series every 15 s", "< 25 % of a core", "%.1f %%, the agents' side included", share)
		return nil
	}
	return fmt.Errorf("not all agents were asked in %s", 2*meteredFor)
}

// spent is the processor time of this program so far.
func spent() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// hour stores an hour of all agents that lies before the present.
func hour(ctx context.Context, db *tsdb.DB) error {
	end := time.Now()
	for i := range 240 {
		at := end.Add(time.Duration(i-240) * 15 * time.Second)
		var batch []metrics.Sample
		for n := range meteredAgents {
			id := fmt.Sprintf("past-%d", n)
			for k := range 20 {
				batch = append(batch, metrics.Sample{At: at, Value: float64(i * k), Labels: metrics.Labels(fmt.Sprintf("past_%d_total", k), "agent", id, id, id+"-r1-0")})
			}
		}
		if err := db.Append(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// charts asks for what four charts of one agent's hour need.
func charts(ctx context.Context, db *tsdb.DB) error {
	r := metrics.Range{End: time.Now(), Start: time.Now().Add(-time.Hour), Step: 30 * time.Second}
	for k := range 4 {
		expr := fmt.Sprintf(`sum(rate(past_%d_total{job="agent",agent="past-500"}[1m]))`, k+1)
		result, err := db.Range(ctx, expr, r)
		if err != nil {
			return err
		}
		if len(result.Series) != 1 {
			return fmt.Errorf("%s gave %d series", expr, len(result.Series))
		}
	}
	return nil
}
