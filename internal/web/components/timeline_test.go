package components_test

import (
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/web/components"
	"github.com/waooaw/platform-portal/internal/web/view"
)

func TestTimeline(t *testing.T) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	line := show(t, components.Timeline(components.TimelineProps{Label: "Steps", JSON: "/op?export=json", CSV: "/op?export=csv", Moments: []components.Moment{
		{Name: "step-0", Status: view.Cell{Text: "Done", Status: "done"}, Title: "Unpack", Href: "/op/1", At: at, Duration: "3.2 s"},
		{Status: view.Cell{Text: "Failed", Status: "failed"}, Title: "Launch", Note: "Exit code 3", Detail: words("the detail"), Open: true}}}))
	line.inOrder(`href="/op?export=json"`, "download", `href="/op?export=csv"`, `<ol`, `aria-label="Steps"`, `data-cell="step-0"`, `data-status="done"`, `href="/op/1"`, "Unpack", "Done", "3.2 s", `datetime="2026-05-04T03:02:01Z"`,
		"Launch", "Failed", "Exit code 3", "<details", " open", "the detail")
	show(t, components.Timeline(components.TimelineProps{Label: "Steps"})).lacks("download")
}
