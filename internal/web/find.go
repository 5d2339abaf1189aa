package web

import (
	"net/http"
	"strings"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/web/view"
)

// actionPath is where an action is confirmed before it is done.
const actionPath = "/agents/{id}/actions/{action}"

func actionHref(id string, action agent.Action) string {
	return "/agents/" + id + "/actions/" + string(action)
}

func lower(s string) string { return strings.ToLower(s) }

// hit is one line of the command palette.
type hit struct {
	Key    string // unique in the list
	Name   string
	Note   string
	Icon   string
	State  view.Cell // shown in place of an icon
	Href   string
	Dialog bool
	Agent  string // its id, when more can be done with it
}

// find gives what the palette offers for a text: agents, and what can be done
// with them if the text starts with an action ("restart mem") or an agent is
// named (agent=ID).
func (s *Server) find(w http.ResponseWriter, r *http.Request) error {
	text, id, role := strings.TrimSpace(r.FormValue("q")), r.FormValue("agent"), auth.From(r.Context()).Role
	if id != "" {
		a, err := s.cfg.Agents.Get(r.Context(), id)
		if err != nil {
			return err
		}
		return s.fragment(w, r, paletteHits(nameOf(a), matching(agentHits(role, a), text)))
	}
	var hits []hit
	if verb, rest, ok := strings.Cut(text, " "); ok && mayGet(role, actionPath) {
		for _, action := range actionsFrom(verb) {
			list, err := s.findAgents(r.Context(), rest)
			if err != nil {
				return err
			}
			for _, a := range list {
				if agentAllows(a, action) {
					hits = append(hits, actionHit(a, action))
				}
			}
		}
	}
	list, err := s.findAgents(r.Context(), text)
	if err != nil {
		return err
	}
	for _, a := range list {
		hits = append(hits, hit{Key: "agent-" + a.ID, Name: nameOf(a), Note: a.ID, State: view.State(a.State), Href: "/agents/" + a.ID, Agent: a.ID})
	}
	return s.fragment(w, r, paletteHits("Agents", hits))
}

// actionsFrom gives the actions that begin with the word.
func actionsFrom(word string) []agent.Action {
	var out []agent.Action
	for _, a := range agent.Actions() {
		if strings.HasPrefix(string(a), lower(word)) {
			out = append(out, a)
		}
	}
	return out
}

func agentAllows(a *agent.Agent, action agent.Action) bool {
	if a.ActiveOperation != "" {
		return false
	}
	for _, allowed := range agent.Allowed(a.State) {
		if allowed == action {
			return true
		}
	}
	return false
}

// agentHits are the places of an agent and what can be done to it now.
func agentHits(role auth.Role, a *agent.Agent) []hit {
	var out []hit
	for _, q := range quickFor(role, a.ID) {
		if !q.Dialog {
			out = append(out, hit{Key: "go-" + lower(q.Name), Name: q.Name, Icon: q.Icon, Href: q.Href})
		}
	}
	if mayGet(role, actionPath) {
		for _, action := range agent.Actions() {
			if agentAllows(a, action) {
				out = append(out, actionHit(a, action))
			}
		}
	}
	return out
}

// actionIcons are what actions look like.
var actionIcons = map[agent.Action]string{
	agent.Provision: "package", agent.Deploy: "rocket", agent.Start: "play", agent.Stop: "square",
	agent.Suspend: "pause", agent.Resume: "play", agent.Restart: "refresh-cw", agent.Revoke: "ban",
}

func actionHit(a *agent.Agent, action agent.Action) hit {
	return hit{
		Key: string(action) + "-" + a.ID, Name: view.Words(string(action)) + " " + nameOf(a), Note: a.ID,
		Icon: actionIcons[action], Href: actionHref(a.ID, action), Dialog: true,
	}
}

func matching(hits []hit, text string) []hit {
	var out []hit
	for _, h := range hits {
		if strings.Contains(lower(h.Name), lower(text)) {
			out = append(out, h)
		}
	}
	return out
}
