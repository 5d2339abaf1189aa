// Package adoption brings what runs elsewhere on its way to specifications of
// agents. Whatever is not looked at is named, so that nothing is dropped in silence.
package adoption

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Note is something about what was read that a person should know.
type Note struct {
	Path string `json:"path"` // as services.web.privileged
	Text string `json:"text"`
	// Lost says that what stands there has no effect on the agents.
	Lost bool `json:"lost,omitempty"`
}

// Plan is what becomes agents.
type Plan struct {
	Docs  []map[string]any // specifications
	Notes []Note
}

// Note adds a note.
func (p *Plan) Note(path string, lost bool, text string, args ...any) {
	if len(args) > 0 {
		text = fmt.Sprintf(text, args...)
	}
	p.Notes = append(p.Notes, Note{Path: path, Text: text, Lost: lost})
}

// Sort orders the notes by what they are about.
func (p *Plan) Sort() {
	slices.SortStableFunc(p.Notes, func(a, b Note) int { return strings.Compare(a.Path, b.Path) })
}

// Draft is one agent on its way to a specification.
type Draft struct {
	Plan *Plan
	Path string         // of what it is read from
	Left map[string]any // what nobody has looked at yet
	Doc  map[string]any
	// Refusals say why a field is left out, where there is more to say.
	Refusals map[string]string
}

// Take gives a field, which counts as looked at.
func (d *Draft) Take(key string) any {
	v := d.Left[key]
	delete(d.Left, key)
	return v
}

// Note adds a note about a field.
func (d *Draft) Note(field string, lost bool, text string, args ...any) {
	d.Plan.Note(d.Path+"."+field, lost, text, args...)
}

// Rest names everything of fields that nobody has looked at.
func (d *Draft) Rest(prefix string, fields map[string]any) {
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		if fields[key] == nil {
			continue
		}
		why := d.Refusals[key]
		if why == "" {
			why = "is not supported and left out"
		}
		d.Note(prefix+key, true, "%s", why)
	}
}

// private are names of variables whose values should be no part of a specification.
var private = regexp.MustCompile(`(?i)(passw|secret|token|api_?key|private_?key|credential)`)

// Variable gives the agent a variable of its environment, unless it looks like a
// secret.
func (d *Draft) Variable(field, name, value string) {
	if private.MatchString(name) && value != "" {
		d.Note(field, true, "looks like a secret and is left out; put it into the portal's secrets directory and name it in secrets, as %s: file:NAME", name)
		return
	}
	env, _ := d.Doc["env"].(map[string]any)
	if env == nil {
		env = map[string]any{}
		d.Doc["env"] = env
	}
	env[name] = value
}

// Anys is a list as documents have it.
func Anys[T any](list []T) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = v
	}
	return out
}
