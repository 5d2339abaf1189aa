package web

import (
	"context"
	"crypto/rand"
	"encoding/csv"
	"encoding/json"
	"net/http"
	"net/url"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/web/components"
	"github.com/waooaw/platform-portal/internal/web/gallery"
)

// mayAct tells whether whoever looks at the page may change something.
func mayAct(ctx context.Context) bool { return auth.From(ctx).Role.Includes(auth.Operator) }

// newKey makes the key under which a form acts once, however often it is sent.
func newKey() string { return rand.Text() }

// agentPath is where an agent's page is.
func agentPath(id string) string { return "/agents/" + url.PathEscape(id) }

// operationPath is where an operation's page is.
func operationPath(id string) string { return "/operations/" + url.PathEscape(id) }

// landed answers a form that acted: by a redirect to where the result is seen.
func landed(w http.ResponseWriter, r *http.Request, to string) error {
	if scripted(r) {
		// A script's request follows a redirect by itself and would not know where it
		// has come to.
		place, err := json.Marshal(map[string]string{"path": to, "target": "#page", "select": "#page", "swap": "outerHTML show:window:top"})
		if err != nil {
			return err
		}
		w.Header().Set("HX-Location", string(place))
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

// invalidQuery is the fault for a part of an address that means nothing.
func invalidQuery(field, message string) error {
	return fault.New(fault.Invalid, "page.query", "The address is not valid").
		Do("Correct it, or start from the list.").At(fault.Field{Path: field, Message: message})
}

// capital begins a sentence with a capital letter.
func capital(s string) string {
	r, size := utf8.DecodeRuneInString(s)
	if r == utf8.RuneError {
		return s
	}
	return string(unicode.ToUpper(r)) + s[size:]
}

// exportTimeline sends what a timeline shows as a file, JSON or CSV.
func exportTimeline(w http.ResponseWriter, format, name string, list []components.Moment) error {
	type line struct {
		At       *time.Time `json:"at,omitempty"`
		Status   string     `json:"status"`
		Title    string     `json:"title"`
		Note     string     `json:"note,omitempty"`
		Duration string     `json:"duration,omitempty"`
	}
	kinds := map[string]string{"json": "application/json", "csv": "text/csv; charset=utf-8"}
	kind, ok := kinds[format]
	if !ok {
		return invalidQuery("export", "must be json or csv")
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+"."+format+`"`)
	lines := make([]line, len(list))
	rows := [][]string{{"at", "status", "title", "note", "duration"}}
	for i, m := range list {
		lines[i] = line{Status: m.Status.Text, Title: m.Title, Note: m.Note, Duration: m.Duration}
		at := ""
		if !m.At.IsZero() {
			utc := m.At.UTC()
			lines[i].At, at = &utc, utc.Format(time.RFC3339Nano)
		}
		row := []string{at, m.Status.Text, m.Title, m.Note, m.Duration}
		for n := range row {
			row[n] = audit.Cell(row[n])
		}
		rows = append(rows, row)
	}
	if format == "json" {
		out := json.NewEncoder(w)
		out.SetIndent("", "  ")
		return out.Encode(lines)
	}
	return csv.NewWriter(w).WriteAll(rows)
}

// galleryPage shows the parts that pages are made of.
func (s *Server) galleryPage(w http.ResponseWriter, r *http.Request) error {
	return s.show(w, r, Shell{Title: "Components"}, gallery.Body(gallery.Parts(s.cfg.Now())))
}

// galleryPart gives what examples of the gallery ask for.
func (s *Server) galleryPart(w http.ResponseWriter, r *http.Request) error {
	switch r.PathValue("example") {
	case "metric":
		return s.fragment(w, r, gallery.Metric(s.cfg.Now()))
	case "confirm":
		return s.dialogOf(w, r, Shell{Title: "Stop an agent", Crumbs: []Crumb{{"Components", "/gallery"}}}, gallery.Confirm(false))
	case "confirm-danger":
		return s.dialogOf(w, r, Shell{Title: "Revoke an agent", Crumbs: []Crumb{{"Components", "/gallery"}}}, gallery.Confirm(true))
	case "timeline":
		return exportTimeline(w, r.URL.Query().Get("format"), "timeline", gallery.Moments(s.cfg.Now()))
	}
	return notHere()
}

// galleryExample answers the forms of examples, which change nothing.
func (s *Server) galleryExample(w http.ResponseWriter, r *http.Request) error {
	if scripted(r) {
		return s.fragment(w, r, gallery.Sent())
	}
	http.Redirect(w, r, "/gallery", http.StatusSeeOther)
	return nil
}
