// Package export writes agents as manifests that run them without the portal.
//
// What only the portal gives is not in them: credentials of its message queue, values
// of secrets, and how it counts restarts. What a format can't say is told as a note.
package export

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/manifest"
)

// Formats are what agents can be written as.
var Formats = []string{"kubernetes", "compose"}

const (
	port    = 8080 // in a container of its own every agent can have the same
	dataDir = "/var/lib/agent"
	claim   = agent.Quantity(1 << 30) // of a volume of which nobody says the size
)

// Options say what the specs leave open.
type Options struct {
	// Image runs agents that name none: built-in ones with the portal's program at
	// /portal, others with their command.
	Image string
}

// tree is an object of a manifest.
type tree = map[string]any

// Write gives manifests of the agents in a format, and notes of what is not in them.
func Write(specs []agent.Spec, format string, o Options) (manifests []byte, notes []string, err error) {
	var documents []any
	w := &writer{options: o}
	switch format {
	case "kubernetes":
		documents, err = w.kubernetes(specs)
	case "compose":
		documents, err = w.compose(specs)
	default:
		err = fault.New(fault.Invalid, "export.format", "There is no format %q", format).Do("Use %s.", strings.Join(Formats, " or "))
	}
	if err != nil {
		return nil, nil, err
	}
	var out bytes.Buffer
	for i, d := range documents {
		text, err := manifest.Encode(d, "yaml")
		if err != nil {
			return nil, nil, err
		}
		if i > 0 {
			out.WriteString("---\n")
		}
		out.Write(text)
	}
	return out.Bytes(), w.notes, nil
}

type writer struct {
	options Options
	notes   []string
}

// note notes something, once.
func (w *writer) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(w.notes, text) {
		w.notes = append(w.notes, text)
	}
}

// program is what runs in the container of an agent.
type program struct {
	image   string
	command []string
	args    []string
	env     map[string]string // without secrets
	probes  agent.Probes      // with their ports as numbers
}

// syntax is how a format writes text.
type syntax struct {
	instance string                   // stands for the name of the instance
	secret   func(name string) string // stands for the value of a secret
	literal  *strings.Replacer        // writes text that stands for itself
	data     string                   // directory that outlives instances
}

// program fills in the references of a spec. What stands for a value that is known
// only later is put in last, so that it is not taken for text.
func (w *writer) program(s agent.Spec, f syntax) (program, error) {
	vars := map[string]string{
		"AGENT_ID": s.ID, "AGENT_NAME": s.Name, "AGENT_VERSION": s.Version, "AGENT_DID": s.DID, "AGENT_INSTANCE": mark("instance"),
		"AGENT_DATA_DIR": f.data, "AGENT_HOST": "0.0.0.0", "HOME": f.data, "PORT": fmt.Sprint(port), "LOG_LEVEL": "info", "LANG": "C.UTF-8",
	}
	known := slices.Collect(maps.Keys(s.Secrets))
	for _, name := range known {
		vars[name] = mark("secret " + name)
	}
	x, err := s.Expand(vars)
	if err != nil {
		return program{}, err
	}
	written := func(text string) string {
		text = strings.ReplaceAll(f.literal.Replace(text), mark("instance"), f.instance)
		for _, name := range known {
			text = strings.ReplaceAll(text, mark("secret "+name), f.secret(name))
		}
		return text
	}
	p := program{env: map[string]string{}}
	if p.probes, err = w.probes(s, x.Env); err != nil {
		return program{}, err
	}
	for name, value := range x.Env {
		if _, secret := s.Secrets[name]; !secret {
			p.env[name] = written(value)
		}
	}
	for _, arg := range x.Args {
		p.args = append(p.args, written(arg))
	}
	if x.Command != "" {
		p.command = []string{written(x.Command)}
	}
	if s.Template != "" {
		p.command, p.args = []string{"/portal"}, append([]string{"agent", "run", s.Template}, p.args...)
	}
	if p.image, err = w.image(s); err != nil {
		return program{}, err
	}
	return p, nil
}

// image gives what others can pull; an image that the portal builds is on its own
// engine alone.
func (w *writer) image(s agent.Spec) (string, error) {
	directory, built := strings.CutPrefix(s.Image, "build://")
	if s.Image != "" && !built {
		return s.Image, nil
	}
	if w.options.Image != "" {
		return w.options.Image, nil
	}
	f := fault.New(fault.Invalid, "export.image", "%s names no image", s.ID)
	switch {
	case built:
		return "", fault.New(fault.Invalid, "export.image", "%s names no image that others can pull", s.ID).
			Because("the portal builds it from the directory %s", directory).Do("Build and push it, and name it with --image.")
	case s.Template != "":
		return "", f.Because("a container runs what is in its image").Do("Name with --image one that holds the portal, as make image builds it.")
	}
	return "", f.Because("a container runs what is in its image").Do("Name with --image one that holds %s.", s.Command)
}

// mark gives text that no spec holds: no variable and no argument can have a NUL.
func mark(what string) string { return "\x00" + what + "\x00" }

// probes gives the probes; built-in agents have some of their own.
func (w *writer) probes(s agent.Spec, vars map[string]string) (agent.Probes, error) {
	p := s.Probes
	if s.Template != "" && p.Liveness == nil && p.Readiness == nil {
		p.Liveness = &agent.Probe{HTTP: &agent.HTTPProbe{Path: "/health"}}
		p.Readiness = &agent.Probe{HTTP: &agent.HTTPProbe{Path: "/ready"}}
	}
	for _, at := range []**agent.Probe{&p.Liveness, &p.Readiness} {
		if *at == nil {
			continue
		}
		q := **at
		ref := (*agent.PortRef)(nil)
		switch {
		case q.HTTP != nil:
			h := *q.HTTP
			q.HTTP, ref = &h, &h.Port
		case q.TCP != nil:
			t := *q.TCP
			q.TCP, ref = &t, &t.Port
		}
		if ref != nil {
			n, err := ref.Resolve(vars)
			if err != nil {
				return p, err
			}
			*ref = agent.PortRef(fmt.Sprint(n))
		}
		*at = &q
	}
	return p, nil
}

// named makes a name of lower-case letters, digits and dashes.
func named(parts ...string) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		switch r = unicode.ToLower(r); {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		}
		return '-'
	}, strings.Join(parts, "-")), "-")
}

// replicas is how many instances the spec asks for.
func replicas(s agent.Spec) int { return max(s.Replicas, 1) }
