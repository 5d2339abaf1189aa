package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/waooaw/platform-portal/e2e/browser"
)

// switched runs in the page from its beginning and measures from the press of a
// button of the context selector until the page stands there for that agent and
// was painted.
const switched = `(() => {
	addEventListener('submit', e => {
		const to = e.submitter?.value;
		if (!e.target.matches?.('[data-context-form]')) return;
		const start = performance.now();
		window.switchedIn = 0;
		const look = () => document.querySelector('[data-context]')?.dataset.context === to && !document.querySelector('main.htmx-request, body.htmx-request, .htmx-swapping')
			? requestAnimationFrame(() => setTimeout(() => window.switchedIn = performance.now() - start)) : setTimeout(look, 2);
		setTimeout(look);
	}, true) })()`

// measureContext switches the context on each page of the navigation.
func measureContext(ctx context.Context, b *bench) error {
	s, err := b.site(ctx, "context")
	if err != nil {
		return err
	}
	defer s.browser.Close()
	t, err := s.visit()
	if err != nil {
		return err
	}
	defer t.Close()
	if err := errors.Join(t.EachPage(switched), t.Open(s.URL+"/")); err != nil {
		return err
	}
	pages, err := browser.Eval[[]string](t, `[...document.querySelectorAll('#nav .nav-list a')].map(a => a.getAttribute('href'))`)
	if err != nil {
		return err
	}
	var all spread
	slowest, most := "", ms(0)
	for _, path := range pages {
		times, err := s.switchOn(t, path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		fmt.Fprintf(os.Stderr, "  %s: %s\n", path, times)
		if d := times.at(.5); d > most {
			slowest, most = path, d
		}
		all = append(all, times...)
	}
	b.row(fmt.Sprintf("switch the context on %d pages, 500 agents", len(pages)), "< 100 ms", "p95 %s, %s; slowest %s with p50 %s", round(all.at(.95)), all, slowest, round(most))
	return s.Stop()
}

// switchOn makes one agent after the other the context of a page.
func (s *site) switchOn(t *browser.Tab, path string) (spread, error) {
	var times spread
	if err := t.Open(s.URL + path); err != nil {
		return nil, err
	}
	for i := range 6 {
		id := fmt.Sprintf("sleeper-%03d", i)
		button := fmt.Sprintf(`#context-results button[value=%q]`, id)
		if err := errors.Join(
			t.Wait("the live connection", `document.querySelector('[data-live-state]')?.dataset.liveState === 'live'`),
			t.Click(".context-open"), t.Wait("agents to choose from", fmt.Sprintf("document.querySelector('%s')", strings.ReplaceAll(button, `"`, `\"`))),
			t.Click(button), t.Wait("the page of the agent", "window.switchedIn > 0")); err != nil {
			return nil, err
		}
		took, err := browser.Eval[float64](t, "window.switchedIn")
		if err != nil {
			return nil, err
		}
		if i > 0 { // the first fetches scripts of the page
			times = append(times, ms(took))
		}
	}
	return times, nil
}
