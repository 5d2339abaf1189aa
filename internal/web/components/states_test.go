package components_test

import (
	"testing"

	"github.com/waooaw/platform-portal/internal/web/components"
)

func TestStates(t *testing.T) {
	show(t, components.Empty(components.EmptyProps{Icon: "bot", Title: "No agents yet", Text: "Import some."}), words("what to do")).inOrder("No agents yet", "Import some.", "what to do")
	show(t, components.Loading("Loading the agents", 3)).has(`role="status"`, "Loading the agents")
	show(t, components.Notice("error", "It broke", "The disk is full.")).has(`role="alert"`, `data-status="error"`, "It broke", "The disk is full.")
	show(t, components.Notice("info", "A revision waits", "")).lacks("alert")
	f := show(t, components.Failure(components.FailureProps{What: "It can't be shown", Why: "The queue is away.", Remedy: "Wait.", ID: "id-7", Retry: "/agents"}))
	f.inOrder(`role="alert"`, "It can&#39;t be shown", "The queue is away.", "Wait.", "id-7", `href="/agents"`, "Try again")
	show(t, components.Failure(components.FailureProps{What: "It broke"})).lacks("In the log", "Try again")
}
