package httpapi

import (
	"encoding/json"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
)

// document is the OpenAPI document, made once when it is first asked for.
type document struct {
	once sync.Once
	json []byte
	view docsView
	err  error
}

// docsView is what the page shows.
type docsView struct {
	Title, Version, Text string
	Groups               []docsGroup
	Schemas              []docsSchema
}

type docsGroup struct {
	Name       string
	Operations []docsOperation
}

type docsOperation struct {
	ID, Method, Path, Summary, Text string
	Params                          []docsParam
	Body                            []docsType
	Answers                         []docsAnswer
}

type docsParam struct {
	Name, In, Type, Text string
	Required             bool
}

type docsAnswer struct {
	Status, Text string
	Types        []docsType
}

// docsType is a content type with the name of its schema and where that is.
type docsType struct{ Content, Type, Link string }

type docsSchema struct{ Name, JSON string }

// registerDocs registers the OpenAPI document and the page that shows it. The
// page is made here, because the ones that frameworks bring load scripts from
// other hosts.
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
		return s.page(w, http.StatusOK, docsPage, s.document.view)
	})
	s.raw("docs-style", func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		w.Header().Set("Cache-Control", "public, max-age=3600")
		_, _ = w.Write([]byte(style))
		return nil
	})
}

func (s *server) makeDocument() error {
	d := &s.document
	d.once.Do(func() {
		api := s.api.OpenAPI()
		if d.json, d.err = api.MarshalJSON(); d.err == nil {
			d.view, d.err = viewOf(api)
		}
	})
	return d.err
}

func viewOf(api *huma.OpenAPI) (docsView, error) {
	v := docsView{Title: api.Info.Title, Version: api.Info.Version, Text: api.Info.Description}
	groups := map[string]int{}
	// The table's order is the one people understand.
	for _, route := range Routes {
		op := operationOf(api, route)
		if op == nil {
			continue
		}
		tag := op.Tags[0]
		i, ok := groups[tag]
		if !ok {
			i = len(v.Groups)
			groups[tag] = i
			v.Groups = append(v.Groups, docsGroup{Name: tag})
		}
		v.Groups[i].Operations = append(v.Groups[i].Operations, operationView(op))
	}
	schemas := api.Components.Schemas.Map()
	for name, schema := range schemas {
		text, err := json.MarshalIndent(schema, "", "  ")
		if err != nil {
			return v, err
		}
		v.Schemas = append(v.Schemas, docsSchema{Name: name, JSON: string(text)})
	}
	slices.SortFunc(v.Schemas, func(a, b docsSchema) int { return strings.Compare(a.Name, b.Name) })
	return v, nil
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

func operationView(op *huma.Operation) docsOperation {
	out := docsOperation{ID: op.OperationID, Method: op.Method, Path: op.Path, Summary: op.Summary, Text: op.Description}
	for _, p := range op.Parameters {
		out.Params = append(out.Params, docsParam{Name: p.Name, In: p.In, Type: schemaText(p.Schema), Text: p.Description, Required: p.Required})
	}
	if op.RequestBody != nil {
		out.Body = typesOf(op.RequestBody.Content)
	}
	for code, r := range op.Responses {
		out.Answers = append(out.Answers, docsAnswer{Status: code, Text: r.Description, Types: typesOf(r.Content)})
	}
	slices.SortFunc(out.Answers, func(a, b docsAnswer) int { return strings.Compare(a.Status, b.Status) })
	return out
}

func typesOf(content map[string]*huma.MediaType) []docsType {
	var out []docsType
	for name, media := range content {
		out = append(out, docsType{Content: name, Type: schemaText(media.Schema), Link: linkOf(media.Schema)})
	}
	slices.SortFunc(out, func(a, b docsType) int { return strings.Compare(a.Content, b.Content) })
	return out
}

func linkOf(schema *huma.Schema) string {
	if schema == nil || schema.Ref == "" {
		return ""
	}
	return "#schema-" + schema.Ref[strings.LastIndexByte(schema.Ref, '/')+1:]
}

// schemaText says in a few words what a schema takes.
func schemaText(schema *huma.Schema) string {
	switch {
	case schema == nil:
		return ""
	case schema.Ref != "":
		return schema.Ref[strings.LastIndexByte(schema.Ref, '/')+1:]
	case len(schema.Enum) > 0:
		words := make([]string, 0, len(schema.Enum))
		for _, e := range schema.Enum {
			if word, ok := e.(string); ok {
				words = append(words, word)
			}
		}
		return strings.Join(words, " | ")
	case schema.Type == huma.TypeArray:
		return "list of " + schemaText(schema.Items)
	}
	return schema.Type
}

var docsPage = template.Must(template.New("docs").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Title}} API</title>
<link rel="stylesheet" href="/docs/style.css">
</head>
<body>
<header><h1>{{.Title}} API <small>{{.Version}}</small></h1>
<p>{{.Text}}</p>
<p>For programs: <a href="/openapi.json">openapi.json</a> (OpenAPI 3.1).</p></header>
<nav aria-label="Parts"><ul>{{range .Groups}}<li><a href="#part-{{.Name}}">{{.Name}}</a></li>{{end}}<li><a href="#schemas">schemas</a></li></ul></nav>
<main>
{{range .Groups}}<section id="part-{{.Name}}"><h2>{{.Name}}</h2>
{{range .Operations}}<details id="{{.ID}}"><summary><code class="method">{{.Method}}</code> <code>{{.Path}}</code> <span>{{.Summary}}</span></summary>
{{with .Text}}<p>{{.}}</p>{{end}}
{{if .Params}}<table><caption>Parameters</caption><thead><tr><th scope="col">name</th><th scope="col">in</th><th scope="col">type</th><th scope="col">meaning</th></tr></thead>
<tbody>{{range .Params}}<tr><td><code>{{.Name}}</code>{{if .Required}} (required){{end}}</td><td>{{.In}}</td><td>{{.Type}}</td><td>{{.Text}}</td></tr>{{end}}</tbody></table>{{end}}
{{if .Body}}<p>Body: {{range .Body}}<code>{{.Content}}</code> {{if .Link}}<a href="{{.Link}}">{{.Type}}</a>{{else}}{{.Type}}{{end}} {{end}}</p>{{end}}
<p>Answers:</p><ul>{{range .Answers}}<li><code>{{.Status}}</code> {{.Text}} {{range .Types}}<code>{{.Content}}</code> {{if .Link}}<a href="{{.Link}}">{{.Type}}</a>{{else}}{{.Type}}{{end}} {{end}}</li>{{end}}</ul>
</details>
{{end}}</section>
{{end}}<section id="schemas"><h2>schemas</h2>
{{range .Schemas}}<details id="schema-{{.Name}}"><summary><code>{{.Name}}</code></summary><pre><code>{{.JSON}}</code></pre></details>
{{end}}</section>
</main>
</body>
</html>
`))

const style = `:root{color-scheme:dark light;--bg:#0a0a0a;--panel:#18181b;--text:#fff;--soft:#a1a1aa;--line:#3f3f46;--link:#8fa2ff}
@media (prefers-color-scheme:light){:root{--bg:#fff;--panel:#f8f9fa;--text:#1a1a1a;--soft:#495057;--line:#ced4da;--link:#4c51bf}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:70rem;padding:1.5rem;background:var(--bg);color:var(--text);font:1rem/1.5 system-ui,sans-serif}
body.narrow{max-width:32rem;padding-top:15vh}
h1 small,summary span,caption{color:var(--soft);font-weight:400}
a{color:var(--link)}
nav ul{display:flex;flex-wrap:wrap;gap:1rem;padding:0;list-style:none}
code,pre{font-family:ui-monospace,monospace;font-size:.9em}
pre{overflow:auto}
details{margin:.5rem 0;padding:.5rem 1rem;background:var(--panel);border:1px solid var(--line);border-radius:8px}
summary{cursor:pointer;overflow-wrap:anywhere}
.method{display:inline-block;min-width:4.5em;font-weight:700}
table{width:100%;border-collapse:collapse}
caption{text-align:left}
th,td{padding:.25rem .5rem .25rem 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top;overflow-wrap:anywhere}
button{padding:.75rem 2rem;border:0;border-radius:8px;background:#4c51bf;color:#fff;font:inherit;cursor:pointer}
:focus-visible{outline:3px solid var(--link);outline-offset:2px}
`
