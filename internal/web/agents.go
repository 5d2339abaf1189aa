package web

import (
	"fmt"
	"net/http"

	"github.com/waooaw/platform-portal/internal/agent"
)

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
