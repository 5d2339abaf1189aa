package web

import (
	"context"
	"net/http"
	"strings"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/manifest"
)

// newAgents is the page on which agents are declared.
type newAgents struct {
	Text   string
	From   string // example that the text began with
	Apply  bool   // agents that exist get the text as their spec
	Reason string
	Check  *specCheck
	// Runtimes are those that the portal has.
	Runtimes []string
}

// example is a text to begin with.
type example struct{ Name, Title, Hint, Text string }

// examples are what the page offers.
var examples = []example{
	{"blank", "Blank agent", "A built-in agent that does nothing yet", `name: MyAgent
tier: 3
domain: domain
version: 1.0.0
description: What it is for.
template: blank
`},
	{"memory", "Memory agent", "A built-in agent that remembers", `name: MyMemory
tier: 4
domain: intelligence
version: 1.0.0
description: Remembers what it is told.
template: memory
probes:
  liveness:
    http:
      path: /health
  readiness:
    http:
      path: /ready
`},
	{"command", "Your own program", "Any program on this machine", `name: MyProgram
version: 1.0.0
command: /usr/bin/env
args: [sleep, infinity]
replicas: 1
resources:
  cpu: 0.5
  memory: 256Mi
env:
  LOG_LEVEL: info
restart:
  policy: on-failure
  max_restarts: 5
`},
	{"several", "Several agents", "Documents one after the other", `name: MyStore
template: memory
---
name: MyWorker
template: blank
dependencies: [MyStore]
`},
}

// newAgentsPath is where agents are declared.
const newAgentsPath = "/agents/new"

// newPage shows where agents are declared.
func (s *Server) newPage(w http.ResponseWriter, r *http.Request) error {
	n := &newAgents{From: r.URL.Query().Get("from"), Text: examples[0].Text}
	if n.From == "" {
		n.From = examples[0].Name
	}
	known := false
	for _, e := range examples {
		if e.Name == n.From {
			n.Text, known = e.Text, true
		}
	}
	if !known {
		return invalidQuery("from", "is not an example")
	}
	return s.showNew(w, r, http.StatusOK, n)
}

func (s *Server) showNew(w http.ResponseWriter, r *http.Request, status int, n *newAgents) error {
	n.Text, n.Runtimes = strings.TrimSuffix(n.Text, "\n"), s.runtimes()
	shell := Shell{Title: "New agents", Active: "/agents", Crumbs: []Crumb{{Name: "Agents", Href: "/agents"}}}
	return s.showStatus(w, r, status, shell, newBody(n))
}

func newOf(r *http.Request) *newAgents {
	return &newAgents{Text: unixLines(r.PostFormValue("spec")), Apply: r.PostFormValue("mode") == agent.ImportApply, Reason: strings.TrimSpace(r.PostFormValue("reason"))}
}

// options are how the text becomes agents.
func (n *newAgents) options(dry bool) agent.ImportOptions {
	o := agent.ImportOptions{Mode: agent.ImportCreate, DryRun: dry, Decode: agent.Keep, Reason: n.Reason}
	if n.Apply {
		o.Mode = agent.ImportApply
	}
	return o
}

// checkNew says what is wrong with a text while it is written.
func (s *Server) checkNew(w http.ResponseWriter, r *http.Request) error {
	n := newOf(r)
	if _, err := s.importText(r.Context(), n, true); err != nil {
		return err
	}
	return s.fragment(w, r, checkNewBody(n.Check))
}

// createNew makes agents of the text: all of them or none.
func (s *Server) createNew(w http.ResponseWriter, r *http.Request) error {
	n := newOf(r)
	if len(n.Reason) > maxReason {
		return fault.New(fault.Invalid, "edit.reason", "The reason is too long").At(fault.Field{Path: "reason", Message: "must be at most 500 bytes long"})
	}
	dry := r.PostFormValue("do") == "check"
	result, err := s.importText(r.Context(), n, dry)
	if err != nil {
		return err
	}
	switch {
	case !n.Check.ok():
		s.refused(r, fault.New(fault.Invalid, "agent.import_invalid", "%s", n.Check.Problem).At(fieldsOf(n.Check.Wrong)...))
		return s.showNew(w, r, http.StatusUnprocessableEntity, n)
	case dry:
		return s.showNew(w, r, http.StatusOK, n)
	case len(result.Items) == 1:
		return landed(w, r, agentPath(result.Items[0].ID))
	}
	return landed(w, r, "/agents?sort=-updated_at")
}

// importText reads the text and does with it what the form asks for. What is
// wrong with it stands in n.Check; an error is one of the portal.
func (s *Server) importText(ctx context.Context, n *newAgents, dry bool) (agent.ImportResult, error) {
	n.Check = &specCheck{}
	docs, err := manifest.Parse([]byte(n.Text))
	if err != nil {
		return agent.ImportResult{}, n.Check.take(n.Text, err)
	}
	trees := make([]map[string]any, len(docs))
	for i, d := range docs {
		trees[i] = d.Tree
	}
	result, err := s.cfg.Editor.Import(ctx, trees, n.options(dry))
	if err != nil {
		err = n.Check.take(n.Text, err)
		n.Check.Problem = "Nothing was created"
		if dry {
			n.Check.Problem = "This can't be created as it is"
		}
		return agent.ImportResult{}, err
	}
	n.Check.Docs = result.Items
	n.Check.Warnings = result.Warnings
	return result, nil
}
