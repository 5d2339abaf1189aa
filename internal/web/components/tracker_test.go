package components_test

import (
	"testing"

	"github.com/waooaw/platform-portal/internal/web/components"
	"github.com/waooaw/platform-portal/internal/web/view"
)

func TestTracker(t *testing.T) {
	share := 0.5
	tr := show(t, components.Tracker(components.TrackerProps{Row: "operation:1", Title: "Deploy Memory", State: view.Cell{Text: "Running", Status: "running"}, Progress: view.Cell{Text: "1/2", Share: &share},
		Request: view.Cell{Text: "Pause asked for"}, Remaining: "about 4 s left", Pause: "/op/pause", Cancel: "/op/cancel", Key: "k1", Target: "#operation",
		Steps: []components.Step{{Title: "Unpack", Name: "step-0", Status: view.Cell{Text: "Done", Status: "done"}}, {Title: "Launch", Name: "step-1", Status: view.Cell{Text: "Running", Status: "running"}, Note: view.Cell{Text: "1 of 2 ready"}}}}))
	tr.has(`data-row="operation:1"`, `hx-target="#operation"`, `value="k1"`, `data-cell="step-1-detail"`)
	tr.inOrder("Deploy Memory", `data-cell="state"`, "Running", "Pause asked for", `action="/op/pause"`, `action="/op/cancel"`, "<progress", `value="0.5000"`, "1/2", "about 4 s left", "Unpack", "Done", "Launch", "1 of 2 ready")
	tr.lacks("Go on")
	quiet := show(t, components.Tracker(components.TrackerProps{Title: "Deploy Memory"}))
	quiet.lacks("<form", "Controls", "left")
	show(t, components.ProgressBar("", view.Cell{}, "Loading")).lacks("value=")
}
