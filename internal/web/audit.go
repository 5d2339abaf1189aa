package web

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/web/view"
)

// auditList is what the page of the audit log shows.
type auditList struct {
	Entries  []audit.Entry
	Older    string
	Query    url.Values // what is asked for
	Filtered bool
	Report   *audit.Report // nil unless the chain was checked
}

// auditFields are the filters of the page.
var auditFields = []string{"actor", "action", "agent", "outcome", "q", "since", "until"}

// auditPage shows the record of who did what.
func (s *Server) auditPage(w http.ResponseWriter, r *http.Request) error {
	list, err := s.auditList(r)
	if err != nil {
		return err
	}
	if r.URL.Query().Get("verify") != "" {
		report, err := audit.Verify(r.Context(), s.cfg.Audit)
		if err != nil {
			return err
		}
		list.Report = &report
	}
	if wantsPart(r) {
		return s.fragment(w, r, auditBody(list))
	}
	return s.show(w, r, Shell{Title: "Audit", Active: "/audit"}, auditBody(list))
}

func (s *Server) auditList(r *http.Request) (*auditList, error) {
	in := r.URL.Query()
	list := &auditList{Query: url.Values{}}
	for _, f := range auditFields {
		if v := in.Get(f); v != "" {
			list.Query.Set(f, v)
			list.Filtered = true
		}
	}
	q := audit.Query{
		Actor: in.Get("actor"), Action: in.Get("action"), Outcome: audit.Outcome(in.Get("outcome")), Search: in.Get("q"),
		Limit: perPage, Cursor: in.Get("cursor"),
	}
	switch q.Outcome {
	case "", audit.Done, audit.Refused, audit.Failed:
	default:
		return nil, invalidQuery("outcome", "must be done, refused or failed")
	}
	named := s.narrowedTo(r)
	if len(named) > 0 {
		list.Query.Set("agent", strings.Join(named, ","))
	}
	ids, err := s.agentIDs(r.Context(), named)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		q.Targets = append(q.Targets, "agent/"+id)
	}
	for field, to := range map[string]*time.Time{"since": &q.Since, "until": &q.Until} {
		if *to, err = dayOf(in.Get(field)); err != nil {
			return nil, invalidQuery(field, "must be a day as in 2026-01-31, or a time as in RFC 3339")
		}
	}
	if !q.Until.IsZero() && len(in.Get("until")) == len(time.DateOnly) {
		q.Until = q.Until.AddDate(0, 0, 1) // the day that is named counts
	}
	var next string
	if list.Entries, next, err = s.cfg.Audit.Find(r.Context(), q); err != nil {
		return nil, err
	}
	list.Older = olderHref(r, next)
	return list, nil
}

// dayOf reads a day or a moment, in UTC; zero for nothing.
func dayOf(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return t, nil
	}
	return time.Parse(time.RFC3339, text)
}

// exportHref is where the entries that are asked for can be had as a file.
func (l *auditList) exportHref(format string) string {
	q := url.Values{"format": {format}}
	for k, v := range l.Query {
		q[k] = v
	}
	for _, field := range []string{"since", "until"} {
		if t, err := dayOf(q.Get(field)); err == nil && !t.IsZero() {
			if field == "until" && len(q.Get(field)) == len(time.DateOnly) {
				t = t.AddDate(0, 0, 1)
			}
			q.Set(field, t.Format(time.RFC3339))
		}
	}
	return "/api/platform/audit/export?" + q.Encode()
}

// outcomeCell is the cell of what came of an attempt.
func outcomeCell(o audit.Outcome) view.Cell {
	status := map[audit.Outcome]string{audit.Done: "done", audit.Refused: "denied", audit.Failed: "failed"}[o]
	return view.Cell{Text: view.Words(string(o)), Status: status}
}

func seqText(n int64) string { return strconv.FormatInt(n, 10) }
