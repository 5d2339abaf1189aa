package components_test

import (
	"testing"

	"github.com/waooaw/platform-portal/internal/web/components"
)

func TestMenu(t *testing.T) {
	m := show(t, components.Menu(components.MenuProps{ID: "m", Label: "Actions"}), components.MenuTitle("Lifecycle"),
		components.MenuItem(components.MenuItemProps{Label: "Resume", Hint: "It is not suspended", Name: "action", Value: "resume", Disabled: true}),
		components.MenuLine(), components.MenuLink(components.MenuItemProps{Label: "Logs", Href: "/logs", Keys: "l"}),
		components.MenuLink(components.MenuItemProps{Label: "Gone", Href: "/gone", Disabled: true, Danger: true}))
	m.inOrder(`popovertarget="m"`, `aria-haspopup="menu"`, `title="Actions"`, "Actions", `id="m"`, "popover", `role="menu"`, "Lifecycle", `role="menuitem"`, `name="action"`, " disabled", "It is not suspended", `role="separator"`, `href="/logs"`, "<kbd", "aria-disabled", "Gone")
	m.lacks(`href="/gone"`)
	show(t, components.Menu(components.MenuProps{ID: "m", Label: "Sort", ShowLabel: true})).lacks("hidden-text", "title=")
}
