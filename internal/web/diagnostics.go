package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/diagnosis"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/web/view"
)

// Diagnostics looks whether everything is in order. See diagnosis.Service.
type Diagnostics interface {
	Run(ctx context.Context, agentID string) (diagnosis.Diagnosis, error)
	Get(ctx context.Context, id string) (*diagnosis.Diagnosis, error)
	History(ctx context.Context, q diagnosis.Query) ([]diagnosis.Diagnosis, string, error)
}

var diagnosticsRoutes = []Route{
	{Method: "GET", Path: "/diagnostics", Role: auth.Viewer, ID: "diagnostics-page", Title: "Diagnostics", handle: (*Server).diagnosticsPage},
	{Method: "POST", Path: "/diagnostics", Role: auth.Operator, ID: "diagnostics-run", handle: (*Server).diagnosticsRun},
}

// examination is what the page of diagnostics shows: one run, and the others of
// its scope.
type examination struct {
	Agent   string // id; "" for the portal
	Name    string // of the agent
	Context choice // the agent that the pages are about, if it is another scope
	Shown   *diagnosis.Diagnosis
	History []diagnosis.Diagnosis
	May     bool // run checks
	Bundle  bool // take a support bundle
}

// diagnosticsPage shows what was found last, or in the run that is asked for.
func (s *Server) diagnosticsPage(w http.ResponseWriter, r *http.Request) error {
	x, err := s.examination(r)
	if err != nil {
		return err
	}
	if wantsPart(r) {
		return s.fragment(w, r, diagnosticsBody(x))
	}
	return s.show(w, r, Shell{Title: "Diagnostics", Active: "/diagnostics"}, diagnosticsBody(x))
}

func (s *Server) examination(r *http.Request) (*examination, error) {
	role := auth.From(r.Context()).Role
	x := &examination{May: role.Includes(auth.Operator), Bundle: role.Includes(auth.Admin), Context: s.choiceOf(r)}
	if r.URL.Query().Get("scope") != string(diagnosis.Portal) {
		x.Agent, x.Name = x.Context.ID, x.Context.Name
	}
	if id := r.URL.Query().Get("run"); id != "" {
		d, err := s.cfg.Diagnostics.Get(r.Context(), id)
		if err != nil {
			return nil, err
		}
		x.Shown, x.Agent, x.Name = d, d.AgentID, view.Plain(d.AgentName, 80)
	}
	q := diagnosis.Query{Scope: diagnosis.Portal, Limit: diagnosis.Keep}
	if x.Agent != "" {
		q = diagnosis.Query{AgentIDs: []string{x.Agent}, Limit: diagnosis.Keep}
	}
	var err error
	if x.History, _, err = s.cfg.Diagnostics.History(r.Context(), q); err != nil {
		return nil, err
	}
	if x.Shown == nil && len(x.History) > 0 {
		x.Shown = &x.History[0]
	}
	return x, nil
}

// diagnosticsRun makes all checks of a scope and leads to what they found.
func (s *Server) diagnosticsRun(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return fault.New(fault.Invalid, "form.unreadable", "The form can't be read").Wrap(err)
	}
	d, err := s.cfg.Diagnostics.Run(r.Context(), r.PostForm.Get("agent"))
	if err != nil {
		return err
	}
	http.Redirect(w, r, runPath(d), http.StatusSeeOther)
	return nil
}

// runPath is where a run is shown.
func runPath(d diagnosis.Diagnosis) string { return "/diagnostics?run=" + url.QueryEscape(d.ID) }

// at is the address of the page as it is.
func (x *examination) at() string {
	switch {
	case x.Shown != nil && len(x.History) > 0 && x.Shown.ID != x.History[0].ID:
		return runPath(*x.Shown)
	case x.Agent != "":
		return "/diagnostics?agent=" + url.QueryEscape(x.Agent)
	}
	return "/diagnostics?scope=portal"
}

// about says what is looked at.
func (x *examination) about() string {
	if x.Agent == "" {
		return "the portal"
	}
	return x.Name
}

// worstFirst gives the findings, what needs somebody first.
func worstFirst(list []diagnosis.Finding) []diagnosis.Finding {
	rank := map[diagnosis.Status]int{diagnosis.Failed: 0, diagnosis.Warning: 1, diagnosis.OK: 2, diagnosis.Skipped: 3}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b diagnosis.Finding) int { return cmp.Compare(rank[a.Status], rank[b.Status]) })
	return list
}

// findingCell is the cell of what a check came to.
func findingCell(s diagnosis.Status) view.Cell {
	status := map[diagnosis.Status]string{diagnosis.OK: "done", diagnosis.Warning: "warning", diagnosis.Failed: "failed", diagnosis.Skipped: "skipped"}[s]
	text := view.Words(string(s))
	if s == diagnosis.OK {
		text = "OK"
	}
	return view.Cell{Text: text, Status: status}
}

// inShort says how a run came out.
func inShort(d diagnosis.Diagnosis) string {
	return fmt.Sprintf("%d failed, %s, %d OK, %d skipped", d.Counts[diagnosis.Failed],
		count(d.Counts[diagnosis.Warning], "warning", "warnings"), d.Counts[diagnosis.OK], d.Counts[diagnosis.Skipped])
}

// tookText writes how long a check took, from milliseconds.
func tookText(ms float64) string {
	if ms < 1 {
		return "under 1 ms"
	}
	return fmt.Sprintf("%.0f ms", ms)
}

// checkName is a check as people call it.
func checkName(check string) string {
	if check == "dns" {
		return "DNS"
	}
	return view.Words(check)
}
