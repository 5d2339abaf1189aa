package components_test

import (
	"testing"

	"github.com/waooaw/platform-portal/internal/web/components"
)

func TestDialog(t *testing.T) {
	d := show(t, components.Dialog(components.DialogProps{Title: "Stop Memory", Wide: true}), words("content"))
	d.has("dialog-wide", `aria-labelledby="dialog-title"`, `id="dialog-title"`, `closedby="any"`)
	d.inOrder("Stop Memory", ">Close<", "content")
}

func TestConfirm(t *testing.T) {
	c := show(t, components.Confirm(components.ConfirmProps{Action: "/agents/a/actions/stop", Key: "k1", Text: "It ends.", Verb: "Stop agent", Reason: true, Back: "/agents",
		Impact: []components.Consequence{{Icon: "link", Text: "2 agents depend on it", Detail: "B, C", Status: "warning"}}, Undo: "Start brings it back."}))
	c.has(`method="post"`, `action="/agents/a/actions/stop"`, `value="k1"`, `hx-nonce="n0nce"`, `name="reason"`, `href="/agents"`, "button-primary")
	c.inOrder("It ends.", "2 agents depend on it", "B, C", "Start brings it back.", `role="alert"`, "Cancel", "Stop agent")
	c.lacks("button-danger", "data-phrase")
	show(t, components.Confirm(components.ConfirmProps{Verb: "Revoke", Danger: true, Phrase: "memory"})).has("button-danger", `data-phrase="memory"`, "Type memory to confirm", "required")
	show(t, components.Confirm(components.ConfirmProps{Verb: "Stop", Blocked: "It is stopped already"})).has("It is stopped already", " disabled")
}
