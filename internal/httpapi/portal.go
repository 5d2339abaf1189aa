package httpapi

import (
	"context"
	"net/http"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/httpapi/docs"
	"github.com/waooaw/platform-portal/internal/queue"
)

// registerPortal registers what is about the portal itself.
func (s *server) registerPortal() {
	s.raw("healthz", func(w http.ResponseWriter, _ *http.Request) error { return plain(w, "alive\n") })
	s.raw("readyz", s.ready)
	handle(s, "version", "What was built", func(context.Context, *struct{}) (*struct{ Body Version }, error) {
		return &struct{ Body Version }{Body: s.cfg.Version}, nil
	})
	metrics := promhttp.HandlerFor(s.cfg.Registry, promhttp.HandlerOpts{Registry: s.cfg.Registry})
	s.raw("own-metrics", func(w http.ResponseWriter, r *http.Request) error {
		metrics.ServeHTTP(w, r)
		return nil
	})
	s.describeRaw("healthz", "Is the portal alive", "text/plain")
	s.describeRaw("readyz", "Can the portal serve", "text/plain")
	s.describeRaw("own-metrics", "The portal's own metrics, for Prometheus", "text/plain")
}

// describeRaw adds a route to the OpenAPI document that is served without the
// HTTP framework.
func (s *server) describeRaw(id, summary, contentType string, params ...*huma.Param) {
	op := describe(mustRoute(id), summary)
	op.Parameters = append(op.Parameters, params...)
	op.Responses = map[string]*huma.Response{"200": {Description: "OK",
		Content: map[string]*huma.MediaType{contentType: {Schema: &huma.Schema{Type: "string"}}}}}
	s.api.OpenAPI().AddOperation(&op)
}

// document is the OpenAPI document, made once when it is first asked for.
type document struct {
	once sync.Once
	json []byte
	view docs.View
	err  error
}

// registerDocs registers the OpenAPI document and the page that shows it.
func (s *server) registerDocs() {
	s.raw("openapi", func(w http.ResponseWriter, _ *http.Request) error {
		if err := s.makeDocument(); err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/vnd.oai.openapi+json;version=3.1")
		w.Header().Set("Cache-Control", "no-cache")
		_, _ = w.Write(s.document.json)
		return nil
	})
	s.raw("docs", func(w http.ResponseWriter, _ *http.Request) error {
		if err := s.makeDocument(); err != nil {
			return err
		}
		return s.page(w, http.StatusOK, docs.Page, s.document.view)
	})
	s.raw("docs-style", func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		w.Header().Set("Cache-Control", "public, max-age=3600")
		_, _ = w.Write([]byte(docs.Style))
		return nil
	})
}

func (s *server) makeDocument() error {
	d := &s.document
	d.once.Do(func() {
		api := s.api.OpenAPI()
		if d.json, d.err = api.MarshalJSON(); d.err == nil {
			d.view, d.err = docs.Of(api, operationsOf(api))
		}
	})
	return d.err
}

// operationsOf lists the documented operations in the table's order, which is
// the one people understand.
func operationsOf(api *huma.OpenAPI) []*huma.Operation {
	var out []*huma.Operation
	for _, route := range Routes {
		if op := operationOf(api, route); op != nil {
			out = append(out, op)
		}
	}
	return out
}

func operationOf(api *huma.OpenAPI, route Route) *huma.Operation {
	item := api.Paths[strings.TrimSuffix(route.Path, "{$}")]
	if item == nil {
		return nil
	}
	switch route.Method {
	case http.MethodGet:
		return item.Get
	case http.MethodPost:
		return item.Post
	case http.MethodPatch:
		return item.Patch
	case http.MethodDelete:
		return item.Delete
	}
	return nil
}

// registerLive registers live updates.
func (s *server) registerLive() {
	serve := func(h func(Live, http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
		return func(w http.ResponseWriter, r *http.Request) error {
			if s.cfg.Live == nil {
				return fault.New(fault.Unavailable, "live.stopped", "Live updates are not running")
			}
			return h(s.cfg.Live, w, r)
		}
	}
	s.raw("live", serve(Live.WebSocket))
	s.raw("live-sse", serve(Live.SSE))
	rooms := &huma.Param{Name: "rooms", In: "query", Required: true, Schema: &huma.Schema{Type: "string"},
		Description: "agents, agent:ID, operations, operation:ID, bulk:ID, queues, audit; separated by commas"}
	since := &huma.Param{Name: "since", In: "query", Schema: &huma.Schema{Type: "string"},
		Description: "id of the last message that was got; what was missed since comes first"}
	s.describeRaw("live", `Live updates over WebSocket: {"id","event","data"}`, "application/json", rooms, since)
	s.describeRaw("live-sse", "Live updates as server-sent events", "text/event-stream", rooms, since)
}

// registerQueues registers the queues of agents.
func (s *server) registerQueues() {
	handle(s, "list-queues", "List the command queues of agents", s.listQueues)
	handle(s, "get-queue", "Get the command queue of an agent", s.getQueue)
}

// QueueView is the command queue of an agent.
type QueueView struct {
	AgentID string `json:"agent_id"`
	queue.Stats
}

type listQueuesInput struct {
	OfAgents
	Paging
}

func (s *server) listQueues(ctx context.Context, in *listQueuesInput) (*listAnswer[QueueView], error) {
	ids, err := s.agentIDs(ctx, in.Agent)
	if err != nil {
		return nil, err
	}
	page, err := s.cfg.AgentStore.Find(ctx, agent.Query{IDs: ids, Limit: in.Limit, Cursor: in.Cursor,
		// The others have no queue.
		States: []agent.State{agent.Provisioned, agent.Deployed, agent.Running, agent.Stopped, agent.Suspended, agent.Errored}})
	if err != nil {
		return nil, err
	}
	views := []QueueView{}
	for _, a := range page.Agents {
		stats, err := s.cfg.Queues.Stats(ctx, a.ID)
		if fault.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		views = append(views, QueueView{AgentID: a.ID, Stats: stats})
	}
	out := listOf(views, page.Next)
	out.Filtered = ids
	return &listAnswer[QueueView]{Body: out}, nil
}

type queueAnswer struct{ Body QueueView }

func (s *server) getQueue(ctx context.Context, in *struct {
	Agent string `path:"agent" maxLength:"200" doc:"Id or name of the agent"`
}) (*queueAnswer, error) {
	id, err := s.idOf(ctx, in.Agent)
	if err != nil {
		return nil, err
	}
	stats, err := s.cfg.Queues.Stats(ctx, id)
	if err != nil {
		return nil, err
	}
	return &queueAnswer{Body: QueueView{AgentID: id, Stats: stats}}, nil
}
