package door

import (
	"context"
	"errors"
	"net/http"
	"path"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// router registers handlers on the door's mux, each behind its guard. Only
// what is in the table of routes can be registered.
type router struct{ *Door }

// HandleFunc is what the HTTP framework and the handlers that need none of it
// register with.
func (m router) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	route := m.routeOf(func(r *Route) bool { return r.Pattern() == pattern })
	if route == nil {
		panic("door: not in the table of routes: " + pattern)
	}
	m.routes[pattern] = route
	m.mux.Handle(pattern, m.guard(route, http.HandlerFunc(handler)))
}

func (d *Door) routeOf(is func(*Route) bool) *Route {
	for i := range d.cfg.Table {
		if is(&d.cfg.Table[i]) {
			return &d.cfg.Table[i]
		}
	}
	return nil
}

// Raw registers a handler that reads and writes HTTP itself. An error that it
// returns is answered; it has written nothing then.
func (d *Door) Raw(id string, handler func(w http.ResponseWriter, r *http.Request) error) {
	route := d.mustRoute(id)
	router{d}.HandleFunc(route.Pattern(), func(w http.ResponseWriter, r *http.Request) {
		if err := handler(w, r); err != nil {
			d.Fail(w, r, err)
		}
	})
}

func (d *Door) mustRoute(id string) *Route {
	route := d.routeOf(func(r *Route) bool { return r.ID == id })
	if route == nil {
		panic("door: not in the table of routes: " + id)
	}
	return route
}

// Handle registers an operation of the API: I says what it takes and O what it
// gives, for the checks as well as for the OpenAPI document.
func Handle[I, O any](d *Door, id, summary string, h func(ctx context.Context, in *I) (*O, error), more ...func(*huma.Operation)) {
	op := describe(d.mustRoute(id), summary)
	for _, set := range more {
		set(&op)
	}
	huma.Register(d.api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := h(ctx, in)
		if err != nil {
			return nil, d.ProblemOf(ctx, err)
		}
		return out, nil
	})
	if d.mustRoute(id).Waits {
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
	rest := strings.TrimPrefix(strings.TrimPrefix(path, Base), "/")
	name, _, _ := strings.Cut(rest, "/")
	if name == "metrics" && strings.HasPrefix(path, Base) {
		return name
	}
	switch name {
	case "healthz", "readyz", "version", "metrics", "openapi.json", "docs", "":
		return "portal"
	}
	return name
}

func ptr[T any](v T) *T { return &v }

// Status sets the status of success.
func Status(code int) func(*huma.Operation) {
	return func(op *huma.Operation) { op.DefaultStatus = code }
}

// DocumentBody says what the body is that a handler reads by itself.
func (d *Door) DocumentBody(id string, schema *huma.Schema, types ...string) {
	body := operationOf(d.api.OpenAPI(), *d.mustRoute(id)).RequestBody
	body.Required, body.Content = true, map[string]*huma.MediaType{}
	for _, t := range types {
		body.Content[t] = &huma.MediaType{Schema: schema}
	}
}

// Plain answers with plain text.
func Plain(w http.ResponseWriter, text string) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, err := w.Write([]byte(text))
	if errors.Is(err, http.ErrHandlerTimeout) {
		return err
	}
	return nil
}

// DescribeRaw adds a route to the OpenAPI document that is served without the
// HTTP framework.
func (d *Door) DescribeRaw(id, summary, contentType string, params ...*huma.Param) {
	op := describe(d.mustRoute(id), summary)
	op.Parameters = append(op.Parameters, params...)
	op.Responses = map[string]*huma.Response{"200": {Description: "OK",
		Content: map[string]*huma.MediaType{contentType: {Schema: &huma.Schema{Type: "string"}}}}}
	d.api.OpenAPI().AddOperation(&op)
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
	case http.MethodPut:
		return item.Put
	case http.MethodPatch:
		return item.Patch
	case http.MethodDelete:
		return item.Delete
	}
	return nil
}

// portRef is how a port reference looks from outside.
type portRef struct{}

// Schema is a number, or a text such as $(PORT).
func (portRef) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: "Port number, or a reference such as $(PORT)",
		OneOf: []*huma.Schema{{Type: "integer", Minimum: ptr(1.0), Maximum: ptr(65535.0)}, {Type: "string"}}}
}

// schemaName names the schema of a type: types of packages outside of the API carry the name
// of their noun, e.g. OperationStep.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	noun := path.Base(t.PkgPath())
	if t.Name() == "" || strings.HasPrefix(t.PkgPath(), path.Dir(reflect.TypeFor[Route]().PkgPath())) || !strings.Contains(t.PkgPath(), "/") {
		return name
	}
	noun = strings.ToUpper(noun[:1]) + noun[1:]
	if strings.HasPrefix(name, noun) {
		return name
	}
	return noun + name
}

// ServeHTTP serves without what surrounds every request; the HTTP framework
// asks for it.
func (m router) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.mux.ServeHTTP(w, r) }
