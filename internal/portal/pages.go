package portal

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/waooaw/platform-portal/examples"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/httpapi/door"
	"github.com/waooaw/platform-portal/internal/manifest"
	"github.com/waooaw/platform-portal/internal/preference"
	"github.com/waooaw/platform-portal/internal/web"
)

// web makes the pages. They and the edge that serves them don't know each
// other; here they meet.
func (a *app) web() *web.Server {
	return web.New(web.Config{
		Agents: a.store.Agents(), Editor: a.agents, History: a.store.History(), Fleet: a.fleet, Steward: a.fleet, Mover: a.fleet, Operations: a.operations, Bulks: a.bulk,
		Alerts: a.alerts,
		Probes: a.store.Health(), Errors: a.recovery, Events: a.store.Events(), Figures: a.figures, Series: a.series, SeriesNote: a.seriesNote, Logs: a.logs, Place: func() int64 { return a.hub.Place() }, Audit: a.store.Audit(),
		Facets: a.store.Facets(), Queues: a.bus, Preferences: &preference.Service{Store: a.store.Preferences(), Tx: a.store, Now: now},
		Diagnostics: a.diagnosis,
		SignIns:     a.signIns(), Settings: web.Settings{Own: a.auth, Tokens: a.auth, Users: a.auth, Webhooks: a.webhooks, WebhookReader: a.store.Webhooks()},
		Examples: exampleFleet, Parts: a.parts,
		Door: web.Door{
			SetSession: door.SetSession, SessionOf: door.SessionOf, SecureOf: door.SecureOf,
			WrongCredentials: door.WrongCredentials, Refused: door.Refused,
		},
		Log: a.log, Now: now,
	})
}

// pages gives the routes of the pages.
func pages(s *web.Server) []door.Page {
	out := make([]door.Page, 0, len(web.Routes))
	for _, r := range web.Routes {
		out = append(out, door.Page{
			Route:   door.Route{Method: r.Method, Path: r.Path, Role: r.Role, Public: r.Public, ID: r.ID, Hidden: r.Hidden, Stream: r.Stream, Secret: r.Secret, Outward: r.Outward, Large: r.Large},
			Handler: s.Handler(r),
		})
	}
	return out
}

// errorPage shows a problem in a browser.
func errorPage(s *web.Server) func(w http.ResponseWriter, r *http.Request, p *door.Problem) {
	return func(w http.ResponseWriter, r *http.Request, p *door.Problem) {
		s.ErrorPage(w, r, web.Problem{Status: p.Status, What: p.What, Why: p.Why, Remedy: p.Remedy, Fields: p.Errors,
			RequestID: p.RequestID, ErrorID: p.ErrorID})
	}
}

// partTime is how long a part may take to say that it is well before a page
// goes on without its answer.
const partTime = time.Second

// parts says how the portal's own parts are, for pages.
func (a *app) parts(ctx context.Context) []web.Part {
	ctx, cancel := context.WithTimeout(ctx, partTime)
	defer cancel()
	list := a.components()
	out := make([]web.Part, len(list))
	var all sync.WaitGroup
	for i, c := range list {
		out[i] = web.Part{Name: c.Name}
		all.Go(func() {
			err := c.Check(ctx)
			if f := fault.As(err); f != nil {
				out[i].Problem, out[i].Remedy = f.What, f.Remedy
			} else if err != nil {
				out[i].Problem = "It does not answer"
			}
		})
	}
	all.Wait()
	return out
}

// exampleFleet gives the agents that a new fleet can begin with.
func exampleFleet() ([]map[string]any, error) {
	files, err := examples.Fleet()
	if err != nil {
		return nil, err
	}
	var out []map[string]any
	for _, file := range files {
		docs, err := manifest.Parse(file)
		if err != nil {
			return nil, err
		}
		for _, d := range docs {
			out = append(out, d.Tree)
		}
	}
	return out, nil
}
