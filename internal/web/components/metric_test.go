package components_test

import (
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/web/components"
	"github.com/waooaw/platform-portal/internal/web/view"
)

func TestMetric(t *testing.T) {
	one, two := 1.0, 2.0
	m := show(t, components.Metric(components.MetricProps{Label: "Error rate", Name: "errors", Value: view.Cell{Text: "3.4 %", Status: "warning"}, Unit: "of all", Href: "/figures",
		Trend: view.Cell{Text: "1 %", Status: "up"}, Against: "than before", UpIs: "bad", Series: []*float64{&one, &two}, Over: "last hour",
		Fresh: view.When(time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)), Refresh: "/metric"}))
	m.has(`aria-label="Error rate"`, `href="/figures"`, `data-cell="errors"`, `data-status="warning"`, "3.4 %", "of all", "up-is-bad", `data-status="up"`, "than before",
		`aria-label="Error rate, last hour: lowest 1, highest 2, last 2"`, "<time", "Refresh Error rate", `hx-get="/metric"`, `hx-nonce="n0nce"`)
	plain := show(t, components.Metric(components.MetricProps{Label: "Backlog", Value: view.Unknown("The queues do not answer"), Note: "The queues do not answer", Series: []*float64{&one}}))
	plain.has(view.None, "The queues do not answer")
	plain.lacks("metric-trend", "<svg class=\"sparkline", "<time", "Refresh")
}
