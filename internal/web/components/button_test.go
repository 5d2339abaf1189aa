package components_test

import (
	"testing"

	"github.com/waooaw/platform-portal/internal/web/components"
)

func TestButton(t *testing.T) {
	show(t, components.Button(components.ButtonProps{Label: "Save", Kind: components.Primary, Name: "a", Value: "b"})).
		has("<button", `type="submit"`, "button-primary", `name="a"`, `value="b"`, ">Save<")
	link := show(t, components.Button(components.ButtonProps{Label: "Agents", Href: "/agents"}))
	link.has("<a", `href="/agents"`)
	link.lacks("<button")
	show(t, components.Button(components.ButtonProps{Label: "Refresh", Icon: "refresh-cw", IconOnly: true})).has(`title="Refresh"`, `class="hidden-text"`, ">Refresh<")
	show(t, components.Button(components.ButtonProps{Label: "Save", Disabled: true, Why: "Nothing was changed"})).has(" disabled", `title="Nothing was changed"`)
}
