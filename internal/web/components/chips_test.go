package components_test

import (
	"testing"

	"github.com/waooaw/platform-portal/internal/web/components"
	"github.com/waooaw/platform-portal/internal/web/view"
)

func TestChips(t *testing.T) {
	c := show(t, components.Chips("State", []components.Chip{{Label: "Running", Count: view.Cell{Text: "12", Status: "running"}, CountName: "state-running", Status: "running", Href: "?state=RUNNING", On: true}, {Label: "Stopped", Href: "?state=STOPPED"}}))
	c.has(`aria-label="State"`, `data-status="running"`)
	c.inOrder(`href="?state=RUNNING"`, `aria-current="true"`, "Running", `data-cell="state-running"`, "12", `href="?state=STOPPED"`, "Stopped")
}
