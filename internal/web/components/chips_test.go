package components_test

import (
	"testing"

	"github.com/waooaw/platform-portal/internal/web/components"
)

func TestChips(t *testing.T) {
	c := show(t, components.Chips("State", []components.Chip{{Label: "Running", Count: "12", Status: "running", Href: "?state=RUNNING", On: true}, {Label: "Stopped", Href: "?state=STOPPED"}}))
	c.has(`aria-label="State"`, `data-status="running"`)
	c.inOrder(`href="?state=RUNNING"`, `aria-current="true"`, "Running", "12", "choose to remove", `href="?state=STOPPED"`, "Stopped")
}
