package components_test

import (
	"testing"

	"github.com/waooaw/platform-portal/internal/web/components"
)

func TestTabs(t *testing.T) {
	tabs := show(t, components.Tabs("Parts of the agent", []components.Tab{{Name: "Overview", Href: "/a", Current: true}, {Name: "Instances", Href: "/a?tab=instances", Count: "2", Cell: "instances"}}))
	tabs.inOrder(`aria-label="Parts of the agent"`, `href="/a"`, `aria-current="page"`, "Overview", `href="/a?tab=instances"`, "Instances", `data-cell="instances"`, ">2<")
}
