package components_test

import (
	"context"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/web/components"
)

func TestIcon(t *testing.T) {
	show(t, components.Icon("play")).has("<svg", `aria-hidden="true"`, "<p")
	var b strings.Builder
	if err := components.Icon("no-such-icon").Render(context.Background(), &b); err == nil || !strings.Contains(err.Error(), "no-such-icon") {
		t.Errorf("an icon that does not exist: %v", err)
	}
}
