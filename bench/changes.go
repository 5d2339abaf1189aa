package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive"
)

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
