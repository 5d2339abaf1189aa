package components_test

import (
	"testing"

	"github.com/waooaw/platform-portal/internal/web/components"
	"github.com/waooaw/platform-portal/internal/web/view"
)

func TestBadge(t *testing.T) {
	cell := view.Cell{Text: "Errored", Status: "errored", Hint: "exit code 3"}
	show(t, components.Badge("state", cell)).has(`data-cell="state"`, `data-status="errored"`, `title="exit code 3"`, ">Errored<")
	show(t, components.Badge("", cell)).lacks("data-cell")
	show(t, components.WorkBadge("", cell)).has("work")
	show(t, components.Badge("", view.Cell{Text: evil, Hint: evil})).lacks("<script", `"onload="`)
	show(t, components.StatusIcon("", cell, false)).has(`aria-hidden="true"`, `data-status="errored"`)
	show(t, components.Value("n", view.Cell{Text: "17"})).has("num", ">17<")
	show(t, components.LinkCell("", view.Cell{Text: "Open", Href: "/agents/a"})).has(`href="/agents/a"`)
	show(t, components.LinkCell("", view.Cell{Text: "Nowhere"})).lacks("href")
}
