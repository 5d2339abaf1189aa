package components_test

import (
	"testing"

	"github.com/waooaw/platform-portal/internal/web/components"
)

func TestCard(t *testing.T) {
	c := show(t, components.Card(components.CardProps{Title: "Probes", Hint: "Of this agent", Href: "/agents/a", Lift: true, Aside: words("beside")}), words("content"))
	c.has("card-lift", `href="/agents/a"`, "Of this agent")
	c.inOrder("<h2>", "Probes", "beside", "content")
	show(t, components.Card(components.CardProps{}), words("content")).lacks("<h2", "<header", "card-lift")
	show(t, components.Facts(), components.Fact("Tier")).inOrder("<dl", "<dt>Tier</dt>", "<dd>", "</dl>")
}
