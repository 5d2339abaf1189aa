// Package docs makes the browsable page of the API from its OpenAPI document. It
// is made here, because the ones that frameworks bring load scripts from other
// hosts.
package docs

import (
	"encoding/json"
	"html/template"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// View is what the page shows.
type View struct {
	Title, Version, Text string
	Groups               []group
	Schemas              []schemaView
}

type group struct {
	Name       string
	Operations []operation
}

type operation struct {
	ID, Method, Path, Summary, Text string
	Params                          []param
	Body                            []typed
	Answers                         []answer
}

type param struct {
	Name, In, Type, Text string
	Required             bool
}

type answer struct {
	Status, Text string
	Types        []typed
}

// typed is a content type with the name of its schema and where that is.
type typed struct{ Content, Type, Link string }

type schemaView struct{ Name, JSON string }

// Of gives the view of the document, with the operations in the given order.
func Of(api *huma.OpenAPI, operations []*huma.Operation) (View, error) {
	v := View{Title: api.Info.Title, Version: api.Info.Version, Text: api.Info.Description}
	groups := map[string]int{}
	for _, op := range operations {
		tag := op.Tags[0]
		i, ok := groups[tag]
		if !ok {
			i = len(v.Groups)
			groups[tag] = i
			v.Groups = append(v.Groups, group{Name: tag})
		}
		v.Groups[i].Operations = append(v.Groups[i].Operations, operationView(op))
	}
	schemas := api.Components.Schemas.Map()
	for name, schema := range schemas {
		text, err := json.MarshalIndent(schema, "", "  ")
		if err != nil {
			return v, err
		}
		v.Schemas = append(v.Schemas, schemaView{Name: name, JSON: string(text)})
	}
	slices.SortFunc(v.Schemas, func(a, b schemaView) int { return strings.Compare(a.Name, b.Name) })
	return v, nil
}

func operationView(op *huma.Operation) operation {
	out := operation{ID: op.OperationID, Method: op.Method, Path: op.Path, Summary: op.Summary, Text: op.Description}
	for _, p := range op.Parameters {
		out.Params = append(out.Params, param{Name: p.Name, In: p.In, Type: schemaText(p.Schema), Text: p.Description, Required: p.Required})
	}
	if op.RequestBody != nil {
		out.Body = typesOf(op.RequestBody.Content)
	}
	for code, r := range op.Responses {
		out.Answers = append(out.Answers, answer{Status: code, Text: r.Description, Types: typesOf(r.Content)})
	}
	slices.SortFunc(out.Answers, func(a, b answer) int { return strings.Compare(a.Status, b.Status) })
	return out
}

func typesOf(content map[string]*huma.MediaType) []typed {
	var out []typed
	for name, media := range content {
		out = append(out, typed{Content: name, Type: schemaText(media.Schema), Link: linkOf(media.Schema)})
	}
	slices.SortFunc(out, func(a, b typed) int { return strings.Compare(a.Content, b.Content) })
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

// Page shows a View.
var Page = template.Must(template.New("docs").Parse(`<!doctype html>
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

// Style is the style sheet of the page.
const Style = `:root{color-scheme:dark light;--bg:#0a0a0a;--panel:#18181b;--text:#fff;--soft:#a1a1aa;--line:#3f3f46;--link:#8fa2ff}
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
