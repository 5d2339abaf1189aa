package components_test

import (
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/web/components"
	"github.com/waooaw/platform-portal/internal/web/view"
)

func TestTime(t *testing.T) {
	at := time.Date(2026, 5, 4, 5, 2, 1, 0, time.FixedZone("", 7200))
	show(t, components.Time("ended", at)).has(`datetime="2026-05-04T03:02:01Z"`, `title="2026-05-04 03:02:01 UTC"`, `data-cell="ended"`, "4 May 03:02")
	show(t, components.TimeCell("", view.Cell{})).lacks("datetime")
}
