package agentkit

import (
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// One process is one agent, so the figures belong to the process.
var (
	registry   = prometheus.NewRegistry()
	tasksTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "agent_tasks_total", Help: "Tasks by how they ended: done, or failed (each attempt counts).",
	}, []string{"status"})
	taskSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "agent_task_duration_seconds", Help: "Time that tasks took.",
		Buckets: []float64{.001, .005, .01, .05, .1, .5, 1, 5, 10, 30, 60, 300},
	})
	tokensTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "agent_tokens_total", Help: "Tokens of language models by kind, such as input and output.",
	}, []string{"kind"})
	costTotal = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "agent_cost_usd_total", Help: "What the work has cost, in US dollars.",
	})
	tasksRunning = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "agent_tasks_running", Help: "Tasks that are being done now.",
	})
)

func init() {
	registry.MustRegister(tasksTotal, taskSeconds, tokensTotal, costTotal, tasksRunning,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	tasksTotal.WithLabelValues(StatusDone)
	tasksTotal.WithLabelValues(StatusFailed)
}

// Metrics lets an agent register figures of its own for GET /metrics.
func Metrics() prometheus.Registerer { return registry }

var kindPattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)

// Tokens counts n tokens of a kind, such as "input" or "output"; kinds are
// lower-case words. Negative numbers and other kinds are left out.
func Tokens(kind string, n int) {
	if n > 0 && kindPattern.MatchString(kind) {
		tokensTotal.WithLabelValues(kind).Add(float64(n))
	}
}

// Cost counts what something has cost, in US dollars. Negative amounts are
// left out.
func Cost(usd float64) {
	if usd > 0 {
		costTotal.Add(usd)
	}
}

func measure(status string, took time.Duration) {
	tasksTotal.WithLabelValues(status).Inc()
	taskSeconds.Observe(took.Seconds())
}
