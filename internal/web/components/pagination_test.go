package components_test

import (
	"testing"

	"github.com/waooaw/platform-portal/internal/web/components"
)

func TestPagination(t *testing.T) {
	p := show(t, components.Pagination(components.PaginationProps{Noun: "agents", From: 101, To: 200, Total: 250, Prev: "?page=1", Next: "?page=3"}))
	p.inOrder(`aria-label="Pages of agents"`, "101", "200", "250", "agents", `href="?page=1"`, `rel="prev"`, `href="?page=3"`, `rel="next"`)
	last := show(t, components.Pagination(components.PaginationProps{Noun: "events", Prev: "?before=9"}))
	last.has(" disabled", "There is no further page")
	last.lacks(" of <")
	show(t, components.Pagination(components.PaginationProps{Noun: "agents"})).lacks("<nav")
}
