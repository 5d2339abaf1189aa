// Package gallery shows every part that pages are made of: what it is for, how
// it is used, what it does for people who can't see or can't point, and each of
// its states. Values in it are examples.
package gallery

import (
	"slices"
	"time"

	"github.com/a-h/templ"

	"github.com/waooaw/platform-portal/internal/web/components"
	"github.com/waooaw/platform-portal/internal/web/view"
)

// Part is one part as the gallery shows it.
type Part struct {
	ID   string // in the page's address, and the name of its file
	Name string
	For  string // what it is for, in one sentence
	// Parts are the names of the templates that it consists of.
	Parts []string
	// Use are notes for whoever makes pages.
	Use []string
	// Access is what it does for people who use a keyboard, a screen reader, or see
	// and move differently.
	Access []string
	// Example shows its states; nil for what stands on every page already.
	Example templ.Component
	// Where says where that is.
	Where string
}

// Parts are all parts, by their names. now is when the page is made.
func Parts(now time.Time) []Part {
	out := slices.Concat(shown(now), []Part{
		{ID: "context", Name: "Context selector", For: "The agent that every page is about, chosen once.",
			Use: []string{"A page takes its agent from it unless the address names one, which wins.",
				"It follows across tabs, and clears itself with a warning when its agent is revoked."},
			Access: []string{"A search field and a list of buttons, so that arrows and Enter choose.", "Without scripts it leads to a page with the same."},
			Where:  "At the left of the head of every page."},
		{ID: "palette", Name: "Command palette", For: "Goes anywhere and acts on any agent, by typing.",
			Use:    []string{"A new page or action gets an entry; what the role may not do is not offered."},
			Access: []string{"A combobox: arrows move, Enter chooses, Escape closes and gives the focus back.", "What it offers is in menus and links too; nobody needs it."},
			Where:  "Ctrl-K or ⌘-K on every page."},
	})
	slices.SortFunc(out, func(a, b Part) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}

// Metric is the example of a metric widget as of the moment, which its button
// asks for again.
func Metric(now time.Time) templ.Component {
	return components.Metric(components.MetricProps{Label: "Tasks a minute", Icon: "activity", Value: view.Cell{Text: view.Number(128.4), Status: "success"},
		Unit: "/min", Trend: view.Cell{Text: "12 %", Status: "up"}, Against: "than the hour before", UpIs: "good",
		Series: values(3, 4, 4, 5, 4, 6, 7, 6, 8, 9), Over: "last hour", Fresh: view.When(now), Refresh: "/gallery/metric"})
}

// values makes a series; a negative one is a gap.
func values(list ...float64) []*float64 {
	out := make([]*float64, len(list))
	for i, v := range list {
		if v >= 0 {
			out[i] = &v
		}
	}
	return out
}
