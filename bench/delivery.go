package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/waooaw/platform-portal/e2e/browser"
	"github.com/waooaw/platform-portal/e2e/drive"
)

// observer runs in the page from its beginning and notes when which revision of
// which agent was shown: change writes it into the name.
const observer = `(() => {
	window.shown = [];
	new MutationObserver(list => { const at = performance.timeOrigin + performance.now();
		for (const m of list) { const cell = (m.target.nodeType === 1 ? m.target : m.target.parentElement)?.closest('[data-cell="name"]');
			const n = cell && /^Revision (\d+)$/.exec(cell.textContent)?.[1]; if (n) window.shown.push([cell.closest('[data-row]').dataset.row.slice(6), n, at]) } })
		.observe(document, {subtree: true, childList: true, characterData: true}) })()`

// changed is a change of an agent and when it was made.
type changed struct {
	agent    string
	revision int
}

// delivery is what a page that shows the crowd does while the crowd changes.
type delivery struct {
	delay spread
	share float64 // of the page's main thread
	rate  float64 // changes a second that were made
	shown int     // of all changes; the rest was overtaken by newer ones
	made  int
}

// settleTime is for how long changes are made before they are measured: the page
// has just been opened, and says which rows are in sight.
const settleTime = time.Second

// measureDelivery measures from the commit of a change to the changed cell, of the
// rows in sight.
func (s *site) measureDelivery(ctx context.Context, b *bench) error {
	for _, slower := range []float64{1, 4} {
		d, err := s.deliver(ctx, slower, 10*time.Second)
		if err != nil {
			return err
		}
		name, target := "commit to changed DOM of rows in sight, 500 agents on the page", "p99 < 60 ms"
		if slower > 1 {
			name, target = name+", CPU ÷ 4", "p99 < 200 ms"
		}
		b.row(fmt.Sprintf("%s, %.0f changes/s", name, d.rate), target, "%s", d.delay)
		if slower == 1 {
			b.row(fmt.Sprintf("main thread of that page, %.0f changes/s", d.rate), "< 30 %", "%.1f %%", 100*d.share)
		}
	}
	return nil
}

func (s *site) deliver(ctx context.Context, slower float64, window time.Duration) (d delivery, err error) {
	t, err := s.visit()
	if err != nil {
		return d, err
	}
	defer t.Close()
	if err := t.EachPage(observer); err != nil {
		return d, err
	}
	if err := t.Open(s.URL + "/agents?size=500"); err != nil {
		return d, err
	}
	if err := t.Wait("the page to be live", usable); err != nil {
		return d, err
	}
	if err := t.Slow(slower, 0); err != nil {
		return d, err
	}
	warm, stop := context.WithTimeout(ctx, settleTime)
	defer stop()
	if _, err := change(warm, s.Portal, 1000, func(string, int, time.Time) {}); err != nil {
		return d, err
	}
	made := map[changed]time.Time{}
	before, err := t.MainThread()
	if err != nil {
		return d, err
	}
	start := time.Now()
	limit, cancel := context.WithTimeout(ctx, window)
	defer cancel()
	_, err = change(limit, s.Portal, 1000, func(agent string, revision int, at time.Time) { made[changed{agent, revision}] = at })
	if err != nil {
		return d, err
	}
	took := time.Since(start)
	after, err := t.MainThread()
	if err != nil {
		return d, err
	}
	if err := pause(ctx, time.Second); err != nil { // the last changes arrive
		return d, err
	}
	shown, err := browser.Eval[[][]any](t, `window.shown`)
	if err != nil {
		return d, err
	}
	for _, entry := range shown {
		id, _ := entry[0].(string)
		text, _ := entry[1].(string)
		at, _ := entry[2].(float64)
		revision, _ := strconv.Atoi(text)
		if commit, ok := made[changed{id, revision}]; ok {
			d.delay = append(d.delay, time.UnixMicro(int64(at*1000)).Sub(commit))
		}
	}
	d.made, d.shown, d.rate, d.share = len(made), len(d.delay), float64(len(made))/took.Seconds(), float64(after-before)/float64(took)
	if d.shown == 0 {
		return d, fmt.Errorf("none of %d changes was shown", d.made)
	}
	return d, nil
}

// batch is how many agents one commit changes in the load of changes.
const batch = 20

// change changes the agents of a crowd one after the other, perSecond times a
// second in all, batch in each commit, until ctx ends. note gets each change as
// the agent, its revision, and the time at which the portal said that it is
// committed. It gives how many changes were made.
func change(ctx context.Context, p *drive.Portal, perSecond int, note func(agent string, revision int, at time.Time)) (int, error) {
	agents, err := p.Agents(ctx, "")
	if err != nil {
		return 0, err
	}
	revisions := make(map[string]int, len(agents))
	for _, a := range agents {
		revisions[a.ID] = a.Revision
	}
	tick := time.NewTicker(time.Second * batch / time.Duration(perSecond))
	defer tick.Stop()
	for n := 0; ; n += batch {
		select {
		case <-ctx.Done():
			return n, nil
		case <-tick.C:
		}
		docs := make([]map[string]any, batch)
		for i := range docs {
			docs[i] = sleeper((n + i) % crowd)
			docs[i]["description"] = fmt.Sprint("change ", n)
			docs[i]["display_name"] = fmt.Sprint("Revision ", revisions[docs[i]["name"].(string)]+1)
		}
		var out struct {
			Items []struct {
				ID     string `json:"id"`
				Change string `json:"change"`
			} `json:"items"`
		}
		// A batch that has begun is finished, so that what was made is known.
		if err := p.Call(context.WithoutCancel(ctx), http.MethodPost, "/agents/import?mode=apply", docs, &out); err != nil {
			return n, err
		}
		at := time.Now()
		for _, item := range out.Items {
			revisions[item.ID]++
			note(item.ID, revisions[item.ID], at)
		}
	}
}
