package components_test

import (
	"testing"

	"github.com/waooaw/platform-portal/internal/web/components"
)

func TestTable(t *testing.T) {
	tb := show(t, components.Table(components.TableProps{ID: "t", Caption: "Agents", Select: "agent", Columns: []components.Column{
		{Name: "Name", Sort: "?sort=-name", Sorted: "ascending"}, {Name: "Tasks", Number: true}, {Name: "Menu", Hidden: true}}}), words("the rows"))
	tb.inOrder(`tabindex="0"`, `aria-label="Agents"`, `id="t"`, "<caption", "Agents", `data-select-all="agent"`, `aria-sort="ascending"`, `href="?sort=-name"`, "Name", "cell-number", "Tasks", "hidden-text", "Menu", "<tbody>", "the rows")
	show(t, components.SelectCell("agent", "a1", evil, true)).has(`value="a1"`, " checked", `aria-labelledby="&lt;script&gt;`)
}
