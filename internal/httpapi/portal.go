package httpapi

import (
	"context"
	"net/http"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/httpapi/docs"
	"github.com/waooaw/platform-portal/internal/httpapi/door"
)

// registerPortal registers what is about the portal itself.
func (s *server) registerPortal() {
	s.Raw("healthz", func(w http.ResponseWriter, _ *http.Request) error { return door.Plain(w, "alive\n") })
	door.Handle(s.Door, "version", "What was built", func(context.Context, *struct{}) (*struct{ Body Version }, error) {
		return &struct{ Body Version }{Body: s.cfg.Version}, nil
	})
	metrics := promhttp.HandlerFor(s.cfg.Registry, promhttp.HandlerOpts{Registry: s.cfg.Registry})
	s.Raw("own-metrics", func(w http.ResponseWriter, r *http.Request) error {
		metrics.ServeHTTP(w, r)
		return nil
	})
	s.DescribeRaw("healthz", "Is the portal alive", "text/plain")
	s.DescribeRaw("own-metrics", "The portal's own metrics, for Prometheus", "text/plain")
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
	s.Raw("openapi", func(w http.ResponseWriter, _ *http.Request) error {
		if err := s.makeDocument(); err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/vnd.oai.openapi+json;version=3.1")
		w.Header().Set("Cache-Control", "no-cache")
		_, _ = w.Write(s.document.json)
		return nil
	})
	s.Raw("docs", func(w http.ResponseWriter, _ *http.Request) error {
		if err := s.makeDocument(); err != nil {
			return err
		}
		return s.page(w, http.StatusOK, docs.Page, s.document.view)
	})
	s.Raw("docs-style", func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		w.Header().Set("Cache-Control", "public, max-age=3600")
		_, _ = w.Write([]byte(docs.Style))
		return nil
	})
}

func (s *server) makeDocument() error {
	d := &s.document
	d.once.Do(func() {
		api := s.OpenAPI()
		if d.json, d.err = api.MarshalJSON(); d.err == nil {
			d.view, d.err = docs.Of(api, s.Described())
		}
	})
	return d.err
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
	s.Raw("live", serve(Live.WebSocket))
	s.Raw("live-sse", serve(Live.SSE))
	rooms := &huma.Param{Name: "rooms", In: "query", Required: true, Schema: &huma.Schema{Type: "string"},
		Description: "agents, agent:ID, operations, operation:ID, bulk:ID, queues, alerts, audit; separated by commas"}
	since := &huma.Param{Name: "since", In: "query", Schema: &huma.Schema{Type: "string"},
		Description: "id of the last message that was got; what was missed since comes first"}
	s.DescribeRaw("live", `Live updates over WebSocket: {"id","event","data"}`, "application/json", rooms, since)
	s.DescribeRaw("live-sse", "Live updates as server-sent events", "text/event-stream", rooms, since)
}
