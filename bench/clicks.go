package main

import (
	"errors"
	"time"

	"github.com/waooaw/platform-portal/e2e/browser"
)

// answered runs in the page from its beginning and notes for every click how
// long it took until the page was painted again. What is faster than 16 ms the
// browser does not report; it counts as 16.
const answered = `(() => {
	window.clicks = 0; window.slow = [];
	addEventListener('click', e => { if (e.isTrusted) window.clicks++ }, true);
	const seen = new Map();
	new PerformanceObserver(l => { for (const e of l.getEntries()) if (e.interactionId && /^(pointer|mouse|click)/.test(e.name)) {
		seen.set(e.interactionId, Math.max(seen.get(e.interactionId) ?? 0, e.duration)); window.slow = [...seen.values()] } })
		.observe({type: 'event', durationThreshold: 16, buffered: true}) })()`

type clicks struct {
	All  int       `json:"all"`
	Slow []float64 `json:"slow"`
}

// press clicks and waits until the page has been painted with the answer.
func press(t *browser.Tab, selector string) error {
	if err := t.Click(selector); err != nil {
		return err
	}
	return t.Wait("the next paint", `new Promise(d => requestAnimationFrame(() => setTimeout(() => d(true))))`)
}

// measureClicks measures what a click costs until something is seen of it, the
// very first one on a page apart.
func (s *site) measureClicks(b *bench) error {
	var first, all spread
	for range 8 {
		one, rest, err := s.clickAround()
		if err != nil {
			return err
		}
		first, all = append(first, one), append(all, rest...)
	}
	b.row("first click on Agents, 500 agents, to the next paint", "p95 < 50 ms", "p95 %s, %s", round(first.at(.95)), first)
	b.row("clicks on Agents, 500 agents, to the next paint", "p95 < 50 ms", "p95 %s, %s", round(all.at(.95)), all)
	return nil
}

// clickAround visits the page and clicks what is there. It gives the first
// click's time, and those of all.
func (s *site) clickAround() (first time.Duration, all spread, err error) {
	t, err := s.visit()
	if err != nil {
		return 0, nil, err
	}
	defer t.Close()
	if err := errors.Join(t.EachPage(answered), t.Open(s.URL+"/agents?size=500")); err != nil {
		return 0, nil, err
	}
	for i, selector := range controls {
		if err := errors.Join(press(t, selector), t.Press("Escape")); err != nil {
			return 0, nil, err
		}
		c, err := browser.Eval[clicks](t, `({all: window.clicks, slow: window.slow})`)
		if err != nil {
			return 0, nil, err
		}
		if i == 0 {
			first = ms(16)
			for _, v := range c.Slow {
				first = max(first, ms(v))
			}
		}
		if i < len(controls)-1 {
			continue
		}
		for _, v := range c.Slow {
			all = append(all, ms(v))
		}
		for range max(0, c.All-len(c.Slow)) {
			all = append(all, ms(16))
		}
	}
	return first, all, nil
}

// controls are what is clicked, in this order, on the page of agents; what a
// click opens is closed with Escape before the next one.
var controls = []string{
	"[data-row] [data-actions]",          // the menu of an agent
	"[data-row] input[name=agent]",       // its box
	".context-open",                      // the context selector
	".search-open",                       // the command palette
	`[popovertarget="fleet-sort"]`,       // another menu
	`.topbar button[value="light"]`,      // the theme
	"#chip-state-draft",                  // a filter, which is asked of the server
	"#fleet a[aria-current='true'].chip", // and taken out again
	"#layout-table",                      // all agents in another shape
}
