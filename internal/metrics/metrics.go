// Package metrics knows what agents say of their own work: it asks running
// instances for the figures of the agent contract, keeps an hour of them in
// bounded memory, and answers how much is done, how fast, and at what cost.
//
// A figure that nobody reported is absent, never 0.
package metrics

import (
	"context"
	"time"

	"github.com/waooaw/platform-portal/internal/queue"
)

// Target is one running instance that may have figures.
type Target struct {
	AgentID    string
	AgentName  string // "" if it is not known yet
	InstanceID string
	// Run names one life of the instance's process; its counters begin at 0.
	Run       string
	Host      string // "" means this machine
	Port      int
	StartedAt time.Time // of the run; zero if not known
}

// Targets lists what runs now.
type Targets interface {
	Targets(ctx context.Context) ([]Target, error)
}

// Source gets the figures of one instance. Its errors are short sentences that
// may be shown; a *Refusal if the page can't be taken; ErrNone if the instance
// answers but has no figures of the contract: the page then may hold samples.
type Source interface {
	Page(ctx context.Context, t Target) (Page, error)
}

// Backlogs gives what waits in the queues of all agents, by agent id.
type Backlogs interface {
	Backlogs(ctx context.Context) (map[string]queue.Stats, error)
}

// Page is what one instance reported at one moment. Counters count since the
// start of its process. A part that it does not report is nil.
type Page struct {
	Tasks    map[string]float64 // agent_tasks_total by status
	Duration *Histogram         // agent_task_duration_seconds
	Tokens   map[string]float64 // agent_tokens_total by kind
	Cost     *float64           // agent_cost_usd_total, US dollars
	CPU      *float64           // process_cpu_seconds_total
	Memory   *float64           // process_resident_memory_bytes
	// Dropped names what was left out of the page, and why.
	Dropped []string

	// Samples are all values of the page, also those that no figure is made of,
	// with the labels that the instance gave them and without a time.
	Samples []Sample
	// Grows names the metrics among them that count up from 0.
	Grows map[string]bool
	// About tells what the metrics are, by name.
	About map[string]Metadata
	// Refused says why there are no Samples; nil if there are.
	Refused *Refusal
}

// Refusal is the error of a page that is over a limit or makes no sense.
type Refusal struct {
	Why    string // a sentence that may be shown
	Metric string // that is to blame; "" if it is not known
}

func (r *Refusal) Error() string { return r.Why }

// Histogram counts observations by size. Counts are cumulative, as in the
// text format: Counts[i] observations were at most Bounds[i].
type Histogram struct {
	Bounds []float64 // ascending, finite
	Counts []float64
	Total  float64 // observations in all
	Sum    float64 // of all observations
}

// Figures are what is known about a window of time. Absent is unknown.
type Figures struct {
	// At is when the newest of the figures was measured.
	At time.Time `json:"at,omitzero" doc:"When the newest of these figures was measured"`
	// Covered is for how much of the window there are figures, in seconds.
	Covered        float64            `json:"covered_seconds" doc:"For how much of the window there are figures"`
	TasksPerMinute *float64           `json:"tasks_per_minute,omitempty"`
	Tasks          map[string]float64 `json:"tasks,omitempty" doc:"Tasks that ended, by status"`
	ErrorRate      *float64           `json:"error_rate,omitempty" doc:"Failed tasks of all tasks, 0 to 1; absent if no task ended"`
	P50            *Quantile          `json:"p50_duration,omitempty" doc:"Half of the tasks took at most this; absent if no task ended"`
	P95            *Quantile          `json:"p95_duration,omitempty" doc:"95 of 100 tasks took at most this"`
	P99            *Quantile          `json:"p99_duration,omitempty" doc:"99 of 100 tasks took at most this"`
	Tokens         map[string]float64 `json:"tokens,omitempty" doc:"Tokens used, by kind"`
	Cost           *float64           `json:"cost_usd,omitempty" doc:"Spent in the window, in US dollars"`
	CostPerHour    *float64           `json:"cost_usd_per_hour,omitempty"`
	CostTotal      *float64           `json:"cost_usd_total,omitempty" doc:"Spent since the running processes started, in US dollars"`
	Since          time.Time          `json:"since,omitzero" doc:"Start of the oldest of the running processes that report"`
	CPU            *float64           `json:"cpu_cores,omitempty" doc:"Cores in use, over the window"`
	Memory         *float64           `json:"memory_bytes,omitempty" doc:"Resident memory, as last reported"`
	Backlog        *Backlog           `json:"backlog,omitempty" doc:"What waits in queues; absent if there is no queue, or the queues do not answer"`
}

// Quantile is a bound that a share of the observations keeps.
type Quantile struct {
	Seconds float64 `json:"seconds"`
	// AtLeast says that the true value is above Seconds: it lies beyond the last
	// bucket of the histogram.
	AtLeast bool `json:"at_least,omitempty"`
}

// Backlog is what waits in queues.
type Backlog struct {
	Waiting  int       `json:"waiting"`   // not yet delivered
	InFlight int       `json:"in_flight"` // being worked on
	Dead     int       `json:"dlq_count"` // dead letters
	At       time.Time `json:"at"`
}

// Status says whether an agent reports.
type Status string

// The statuses.
const (
	Reporting Status = "reporting" // every running instance did lately
	Partly    Status = "partly"    // some running instances did lately
	Silent    Status = "silent"    // runs, and reported nothing lately
	Waiting   Status = "waiting"   // runs, and was not asked yet
	NoMetrics Status = "no_metrics"
	Down      Status = "down" // nothing of it runs
)

// AgentFigures are the figures of one agent.
type AgentFigures struct {
	AgentID   string `json:"agent_id"`
	Status    Status `json:"status" enum:"reporting,partly,silent,waiting,no_metrics,down"`
	Reason    string `json:"reason,omitempty" doc:"Why it does not report, or what was left out"`
	Instances int    `json:"instances" doc:"Instances that run"`
	Reporting int    `json:"instances_reporting" doc:"Instances whose figures are fresh"`
	Figures
}

// Coverage says how much of the fleet stands behind a figure.
type Coverage struct {
	Agents    int `json:"agents" doc:"Agents that run"`
	Reporting int `json:"agents_reporting" doc:"Of these, agents with fresh figures"`
}

// FleetFigures are the figures of several agents together.
type FleetFigures struct {
	Coverage
	Figures
}

// Window is the time that figures are about.
type Window struct {
	Length time.Duration // 0 means 5 minutes; of Windows at most an hour, Kept
	// Before moves the end of the window into the past, to compare.
	Before time.Duration
}

// Measure names a series.
type Measure string

// The measures that have a series.
const (
	MeasureTasks     Measure = "tasks_per_minute"
	MeasureErrorRate Measure = "error_rate"
	MeasureP95       Measure = "p95_duration" // seconds
	MeasureTokens    Measure = "tokens_per_minute"
	MeasureCost      Measure = "cost_usd_per_hour"
	MeasureCPU       Measure = "cpu_cores"
	MeasureMemory    Measure = "memory_bytes"
)

// Measures are all measures, in the order in which they are shown.
var Measures = []Measure{MeasureTasks, MeasureErrorRate, MeasureP95, MeasureTokens, MeasureCost, MeasureCPU, MeasureMemory}

// Series is a measure over time; a nil value is a gap.
type Series struct {
	Measure Measure    `json:"measure" enum:"tasks_per_minute,error_rate,p95_duration,tokens_per_minute,cost_usd_per_hour,cpu_cores,memory_bytes"`
	Start   time.Time  `json:"start"`
	Step    float64    `json:"step_seconds"`
	Values  []*float64 `json:"values"`
}

// Reader answers questions about figures. It is what a store of time series
// has to offer. Faults: Invalid for a window or measure it does not keep,
// Unavailable.
type Reader interface {
	// Agents gives the figures of these agents in their order, Down for those
	// it has never heard of; of all that it knows, by id, if none is named.
	Agents(ctx context.Context, w Window, ids ...string) ([]AgentFigures, error)
	// Fleet gives the figures of these agents together; of all if none is named.
	Fleet(ctx context.Context, w Window, ids ...string) (FleetFigures, error)
	// Series gives a measure of these agents together (of all if none is named)
	// in the window, as at most points values.
	Series(ctx context.Context, m Measure, w Window, points int, ids ...string) (Series, error)
}
