package web

import (
	"fmt"
	"net/http"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/auth"
)

// fleetRoutes are the pages of the fleet as a whole, and what is done to it there.
var fleetRoutes = []Route{
	{Method: "GET", Path: "/agents", Role: auth.Viewer, ID: "agents-page", Title: "Agents", handle: (*Server).agentsPage},
}

// agentsPage lists the fleet.
func (s *Server) agentsPage(w http.ResponseWriter, r *http.Request) error {
	page, err := s.cfg.Agents.Find(r.Context(), agent.Query{Limit: 100})
	if err != nil {
		return err
	}
	return s.show(w, r, Shell{Title: "Agents", Active: "/agents"}, agentsBody(page))
}

// count gives a number with its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
