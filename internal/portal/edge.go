package portal

import (
	"context"
	"math/rand/v2"
	"net/http"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/httpapi"
	"github.com/waooaw/platform-portal/internal/httpapi/observe"
	"github.com/waooaw/platform-portal/internal/queue"
	"github.com/waooaw/platform-portal/internal/tsdb"
	"github.com/waooaw/platform-portal/internal/webhook"
	"github.com/waooaw/platform-portal/internal/webhook/post"
)

// edge makes the handler of everything that is reached over HTTP.
func (a *app) edge() http.Handler {
	s, site := a.store, a.site
	return httpapi.New(httpapi.Config{
		Agents: a.agents, AgentStore: s.Agents(), History: s.History(), Fleet: a.fleet, Steward: a.fleet, Compose: composed, Workloads: a.workloads,
		Operations: a.operations, Bulks: a.bulk, Probes: s.Health(), Queues: a.bus,
		Recorder: a.audit, Auth: a.auth, Keys: a.tokens, Key: a.keys.Key, Idempotency: s.Idempotency(), Tx: s, Live: a.hub,
		Observe: observe.Config{Agents: s.Agents(), Runtimes: a.runtimes.reporters(), Queues: a.bus, Metrics: a.figures, Series: a.series, Catalog: a.series, About: a.scraper, Narrow: tsdb.Narrow,
			Now: now, Version: a.build.Version,
			Webhooks: a.webhooks, WebhookReader: s.Webhooks(),
			Logs:   a.logs,
			Events: s.Events(), Audit: s.Audit(), Recorder: a.audit, Errors: a.recovery, Components: a.components(),
			Alerts:      a.alerts,
			Diagnostics: a.diagnosis, SupportBundle: bundle{a, now()}},
		Pages: pages(site), ErrorPage: errorPage(site), Registry: a.registry,
		Log: a.log, Now: now, NewID: newID,
		Version: httpapi.Version{Version: a.build.Version, Commit: a.build.Commit, Date: a.build.Date},
		Listen:  a.cfg.Listen, Hosts: a.hosts(), Secure: a.cfg.SecureOnly,
	})
}

// components are the parts of the portal whose health is shown.
func (a *app) components() []observe.Component {
	return []observe.Component{
		{Name: "store", Check: a.store.Ping, Needed: true},
		{Name: "services", Check: a.running, Needed: true},
		{Name: "bus", Check: a.bus.Ping, Needed: true},
		{Name: "time series", Check: a.series.Ping},
		{Name: "logs", Check: a.logsWell},
	}
}

// running tells whether all services have been started.
func (a *app) running(context.Context) error {
	if a.ready.Load() {
		return nil
	}
	return fault.New(fault.Unavailable, "portal.not_ready", "The portal is starting or stopping").Do("Try again in a moment.")
}

// dead is the payload of the event that announces a dead letter. The command
// itself may be confidential and is not in it.
type dead struct {
	queue.DeadLetter
	Queue string `json:"queue"`
}

// deadLetter announces a command that could not be done.
func (a *app) deadLetter(ctx context.Context, d queue.DeadLetter) error {
	e := event.New(event.DeadLetter, d.AgentID, auth.System.ID, now(), dead{DeadLetter: d, Queue: queue.DeadLetters(d.AgentID)},
		event.RoomQueues, event.RoomAgent(d.AgentID))
	return a.store.Do(ctx, func(ctx context.Context) error { return a.store.Events().Append(ctx, e) })
}

// outward makes what tells other systems what happened.
func (a *app) outward() {
	s := a.store
	a.webhooks = &webhook.Service{
		Store: s.Webhooks(), Attempts: s.Webhooks(), Log: s.Events(), Tx: s, Audit: a.audit,
		Sender: post.New(a.cfg.Egress, a.build.Version, steady), Secrets: fleet.SecretDir{Dir: a.cfg.SecretsDir}, Key: a.keys.Key,
		Source: a.cfg.PublicURL, Now: now, NewID: newID, Logger: a.log, Random: rand.Float64,
		CheckURL: func(field, text string) error {
			_, err := a.cfg.Egress.CheckURL(field, text)
			return err
		},
	}
}
