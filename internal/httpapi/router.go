package httpapi

import (
	"context"
	"net/http"
	"path"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
)

// router registers handlers on the server's mux, each behind its guard. Only
// what is in the table of routes can be registered.
type router struct{ *server }

// HandleFunc is what the HTTP framework and the handlers that need none of it
// register with.
func (m router) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	route := routeOf(func(r *Route) bool { return r.Pattern() == pattern })
	if route == nil {
		panic("httpapi: not in the table of routes: " + pattern)
	}
	m.routes[pattern] = route
	m.mux.Handle(pattern, m.guard(route, http.HandlerFunc(handler)))
}

func routeOf(is func(*Route) bool) *Route {
	for i := range Routes {
		if is(&Routes[i]) {
			return &Routes[i]
		}
	}
	return nil
}

// raw registers a handler that reads and writes HTTP itself. An error that it
// returns is answered; it has written nothing then.
func (s *server) raw(id string, handler func(w http.ResponseWriter, r *http.Request) error) {
	route := mustRoute(id)
	router{s}.HandleFunc(route.Pattern(), func(w http.ResponseWriter, r *http.Request) {
		if err := handler(w, r); err != nil {
			s.fail(w, r, err)
		}
	})
}

func mustRoute(id string) *Route {
	route := routeOf(func(r *Route) bool { return r.ID == id })
	if route == nil {
		panic("httpapi: not in the table of routes: " + id)
	}
	return route
}

// handle registers an operation of the API: I says what it takes and O what it
// gives, for the checks as well as for the OpenAPI document.
func handle[I, O any](s *server, id, summary string, h func(ctx context.Context, in *I) (*O, error), more ...func(*huma.Operation)) {
	op := describe(mustRoute(id), summary)
	for _, set := range more {
		set(&op)
	}
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := h(ctx, in)
		if err != nil {
			return nil, s.problemOf(ctx, err)
		}
		return out, nil
	})
	if mustRoute(id).Waits {
		done := *op.Responses["202"]
		done.Description = "Done, if wait was given"
		op.Responses["200"] = &done
	}
}

// describe makes the part of the OpenAPI document that the table knows.
func describe(route *Route, summary string) huma.Operation {
	op := huma.Operation{
		OperationID:  route.ID,
		Method:       route.Method,
		Path:         strings.TrimSuffix(route.Path, "{$}"),
		Summary:      summary,
		Tags:         []string{tagOf(route.Path)},
		MaxBodyBytes: -1, // the guard has read the body
		Responses:    map[string]*huma.Response{},
	}
	if !route.Public {
		op.Description = "Needs the role " + string(route.Role) + "."
		op.Security = []map[string][]string{{"token": {}}, {"session": {}}}
	}
	if route.Mutation() && !route.Public {
		op.Parameters = append(op.Parameters, &huma.Param{Name: "Idempotency-Key", In: "header", Schema: &huma.Schema{Type: "string", MaxLength: ptr(255)},
			Description: "Makes the request happen once: the same key with the same request gets the first answer again, for 24 hours."})
	}
	return op
}

func tagOf(path string) string {
	rest := strings.TrimPrefix(strings.TrimPrefix(path, base), "/")
	name, _, _ := strings.Cut(rest, "/")
	switch name {
	case "healthz", "readyz", "version", "metrics", "openapi.json", "docs", "":
		return "portal"
	}
	return name
}

func ptr[T any](v T) *T { return &v }

// status sets the status of success.
func status(code int) func(*huma.Operation) {
	return func(op *huma.Operation) { op.DefaultStatus = code }
}

// documentBody says what the body is that a handler reads by itself.
func (s *server) documentBody(id string, schema *huma.Schema, types ...string) {
	body := operationOf(s.api.OpenAPI(), *mustRoute(id)).RequestBody
	body.Required, body.Content = true, map[string]*huma.MediaType{}
	for _, t := range types {
		body.Content[t] = &huma.MediaType{Schema: schema}
	}
}

// portRef is how a port reference looks from outside.
type portRef struct{}

// Schema is a number, or a text such as $(PORT).
func (portRef) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: "Port number, or a reference such as $(PORT)",
		OneOf: []*huma.Schema{{Type: "integer", Minimum: ptr(1.0), Maximum: ptr(65535.0)}, {Type: "string"}}}
}

// schemaName names the schema of a type: types of other packages carry the name
// of their noun, e.g. OperationStep.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	noun := path.Base(t.PkgPath())
	if t.Name() == "" || t.PkgPath() == reflect.TypeFor[Route]().PkgPath() || !strings.Contains(t.PkgPath(), "/") {
		return name
	}
	noun = strings.ToUpper(noun[:1]) + noun[1:]
	if strings.HasPrefix(name, noun) {
		return name
	}
	return noun + name
}

// register makes the API and registers every route.
func (s *server) register() {
	cfg := huma.DefaultConfig("Platform Portal", s.cfg.Version.Version)
	if cfg.Info.Version == "" {
		cfg.Info.Version = "0"
	}
	cfg.Info.Description = "Control plane for a fleet of agents. Errors are application/problem+json (RFC 9457). " +
		"Lists take limit and cursor. Mutations take Idempotency-Key. Long work answers 202 with an operation."
	cfg.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	cfg.OpenAPIPath, cfg.DocsPath, cfg.SchemasPath, cfg.CreateHooks = "", "", "", nil
	cfg.RejectUnknownQueryParameters = true
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token":   {Type: "http", Scheme: "bearer", Description: "API token"},
		"session": {Type: "apiKey", In: "cookie", Name: sessionCookie, Description: "Session of a browser"},
	}
	cfg.Components.Schemas.RegisterTypeAlias(reflect.TypeFor[agent.PortRef](), reflect.TypeFor[portRef]())
	s.api = humago.New(router{s}, cfg)
	s.registerPortal()
	s.registerAgents()
	s.registerActions()
	s.registerAgentDetails()
	s.registerOperations()
	s.registerBulk()
	s.registerObservability()
	s.registerAudit()
	s.registerTokens()
	s.registerAccounts()
	s.registerSelf()
	s.registerQueues()
	s.registerLive()
	s.registerDocs()
	s.registerPages()
}

// ServeHTTP serves without what surrounds every request; the HTTP framework
// asks for it.
func (m router) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.mux.ServeHTTP(w, r) }

// invalid is the fault for input that is wrong in one place.
func invalid(path, message string) *fault.Error {
	return fault.New(fault.Invalid, "request.invalid", "The request is not valid").
		Do("Correct what is listed under errors.").At(fault.Field{Path: path, Message: message})
}
