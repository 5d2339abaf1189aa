package metrics

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Unit is what the values of a panel are.
type Unit string

// The units of panels.
const (
	UnitNumber  Unit = "number"
	UnitShare   Unit = "share" // of 1
	UnitSeconds Unit = "seconds"
	UnitDollars Unit = "dollars"
	UnitBytes   Unit = "bytes"
)

// Panel is something about agents that is worth a chart.
type Panel struct {
	ID   string
	Name string
	Unit Unit
	// expr has {agents} in place of matchers, {span} of a range and {by} of a
	// grouping.
	expr string
}

// Panels are those that people see, in their order.
var Panels = []Panel{
	{"tasks", "Tasks a minute", UnitNumber, `sum{by} (rate(agent_tasks_total{job="agent"{agents}}{span})) * 60`},
	{"errors", "Error rate", UnitShare, `(sum{by} (rate(agent_tasks_total{job="agent",status="failed"{agents}}{span})) or 0 * sum{by} (rate(agent_tasks_total{job="agent"{agents}}{span})))` +
		` / sum{by} (rate(agent_tasks_total{job="agent"{agents}}{span}))`},
	{"p50", "Half of the tasks within", UnitSeconds, `histogram_quantile(0.5, sum{by+le} (rate(agent_task_duration_seconds_bucket{job="agent"{agents}}{span})))`},
	{"p95", "95 % of tasks within", UnitSeconds, `histogram_quantile(0.95, sum{by+le} (rate(agent_task_duration_seconds_bucket{job="agent"{agents}}{span})))`},
	{"p99", "99 % of tasks within", UnitSeconds, `histogram_quantile(0.99, sum{by+le} (rate(agent_task_duration_seconds_bucket{job="agent"{agents}}{span})))`},
	{"tokens", "Tokens a minute", UnitNumber, `sum{by} (rate(agent_tokens_total{job="agent"{agents}}{span})) * 60`},
	{"cost", "Cost an hour", UnitDollars, `sum{by} (rate(agent_cost_usd_total{job="agent"{agents}}{span})) * 3600`},
	{"cpu", "CPU cores", UnitNumber, `sum{by} (rate(instance_cpu_seconds_total{job="runtime"{agents}}{span}))`},
	{"memory", "Memory", UnitBytes, `sum{by} (instance_memory_bytes{job="runtime"{agents}})`},
	{"restarts", "Restarts", UnitNumber, `sum{by} (increase(instance_restarts_total{job="runtime"{agents}}{span}))`},
	{"files", "Open files", UnitNumber, `sum{by} (instance_open_fds{job="runtime"{agents}})`},
	{"probes", "Slowest probe", UnitSeconds, `max{by} (probe_duration_seconds{job="probe"{agents}})`},
	{"queue", "Waiting in queues", UnitNumber, `sum{by} (queue_pending{job="queue"{agents}})`},
}

// PanelOf gives the panel with the id.
func PanelOf(id string) (Panel, bool) {
	for _, p := range Panels {
		if p.ID == id {
			return p, true
		}
	}
	return Panel{}, false
}

// Expression gives the PromQL of the panel for these agents (all if none is
// named), together or each by itself; a value is about the span before it.
func (p Panel) Expression(span time.Duration, each bool, agents ...string) string {
	matcher := ""
	if len(agents) > 0 {
		quoted := make([]string, len(agents))
		for i, id := range agents {
			quoted[i] = regexp.QuoteMeta(id)
		}
		matcher = "," + LabelAgent + "=~" + strconv.Quote(strings.Join(quoted, "|"))
	}
	by, withLE := "", " by (le)"
	if each {
		by, withLE = " by ("+LabelAgent+")", " by ("+LabelAgent+", le)"
	}
	return strings.NewReplacer(
		"{agents}", matcher, "{by+le}", withLE, "{by}", by, "{span}", fmt.Sprintf("[%ds]", int(max(time.Minute, span).Seconds())),
	).Replace(p.expr)
}
