package components_test

import (
	"testing"

	"github.com/waooaw/platform-portal/internal/web/components"
)

func TestLiveIndicator(t *testing.T) {
	show(t, components.LiveIndicator()).has(`data-live-state="connecting"`, "Connecting", "Reload to update", `role="status"`)
}
