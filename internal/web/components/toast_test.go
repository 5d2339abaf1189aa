package components_test

import (
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/web/components"
)

func TestToast(t *testing.T) {
	until := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	toast := show(t, components.Toast(components.ToastProps{Status: "success", Text: "Memory stopped", Undo: "/operations/1/undo", UndoUntil: until, Key: "k1", Link: "/operations/1", LinkText: "Show operation"}))
	toast.has(`hx-target="#toasts"`, `action="/operations/1/undo"`, `value="k1"`, `data-until="2026-05-04T03:02:01Z"`, "Undo", `href="/operations/1"`, `aria-label="Dismiss"`, `hx-nonce="n0nce"`)
	toast.lacks(`role="alert"`)
	show(t, components.FlashToast(components.ToastProps{Status: "error", Text: "It failed"})).has(`role="alert"`)
	show(t, components.FlashToast(components.ToastProps{Status: "busy", Text: "Stopping", Live: "operation:1", Refresh: "/operations/1/toast"})).has(`data-live="operation:1"`, `hx-get="/operations/1/toast"`)
	show(t, components.Toasts(), words("one")).has(`aria-live="polite"`, `id="toasts"`, "one")
}
