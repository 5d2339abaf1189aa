package web

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/a-h/templ"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/web/components"
	"github.com/waooaw/platform-portal/internal/web/view"
)

const (
	logLines     = 200    // that the tab shows
	maxLogLines  = 1000   // that it shows at most
	maxLogExport = 50_000 // that a file holds at most
)

// logLevels are the levels to choose from, each with those above it.
var logLevels = []string{"debug", "info", "warn", "error"}

// logView is what the tab of the logs shows.
type logView struct {
	*agentDetail
	Lines                   []logLine
	Last                    string // cursor of the newest line, also of one that is filtered out
	Instance, Level, Search string
	Instances               []components.Option
	Count                   int
	Filtered                bool
	Problem                 *fault.Error // why there are no lines
}

// logLine is one line with the cursor of the one before it.
type logLine struct {
	fleet.LogLine
	view.LogText
	Before string
}

func (s *Server) logsTab(r *http.Request, d *agentDetail) (templ.Component, error) {
	q := r.URL.Query()
	v := &logView{agentDetail: d, Instance: q.Get("instance"), Level: q.Get("level"), Search: q.Get("q"), Count: logLines}
	if v.Level != "" && !slices.Contains(logLevels, v.Level) {
		return nil, invalidQuery("level", "must be one of "+strings.Join(logLevels, ", "))
	}
	if text := q.Get("lines"); text != "" {
		n, err := positive(text, "lines")
		if err != nil {
			return nil, err
		}
		v.Count = min(n, maxLogLines)
	}
	v.Filtered = v.Level != "" || v.Search != ""
	v.Instances = append(v.Instances, components.Option{Label: "All instances"})
	known := v.Instance == ""
	for _, in := range d.Instances {
		v.Instances = append(v.Instances, components.Option{Value: in.ID, Label: "Instance " + instanceName(in.ID, d.ID)})
		known = known || in.ID == v.Instance
	}
	if !known { // it is gone and its output may still be there
		v.Instances = append(v.Instances, components.Option{Value: v.Instance, Label: "Instance " + instanceName(v.Instance, d.ID)})
	}
	err := s.readLogs(r, v)
	if f := fault.As(err); f != nil && f.Kind == fault.Unavailable {
		v.Problem, err = f, nil
	}
	return logsBody(v), err
}

// readLogs reads the last lines and keeps those that are asked for.
func (s *Server) readLogs(r *http.Request, v *logView) error {
	search := strings.ToLower(v.Search)
	before := ""
	first := true
	// One line more than is shown tells where the first one shown begins.
	q := fleet.LogQuery{AgentID: v.ID, Instance: v.Instance, Tail: v.Count + 1}
	var lines []logLine
	err := s.cfg.Fleet.Logs(r.Context(), q, func(l fleet.LogLine) error {
		line := logLine{LogLine: l, LogText: view.ParseLog(l.Text), Before: before}
		before, v.Last = l.Cursor, l.Cursor
		if l.Stream == "stderr" && line.Level == "" {
			line.Level = "warn"
		}
		keep := atLeast(line.Level, v.Level) && (search == "" || strings.Contains(strings.ToLower(l.Text), search))
		if keep && (!first || line.Cut == 0) {
			line.Text = "" // what is shown is in LogText
			lines = append(lines, line)
		}
		first = false
		return nil
	})
	v.Lines = lines[max(0, len(lines)-v.Count):]
	return err
}

// atLeast tells whether a level is at least another. A line that does not say
// its level is taken as one of info.
func atLeast(level, least string) bool {
	if level == "" {
		level = "info"
	}
	return least == "" || slices.Index(logLevels, level) >= slices.Index(logLevels, least)
}

// lineHref is where a line that is cut can be read whole.
func (v *logView) lineHref(l logLine) string {
	q := url.Values{"after": {l.Before}}
	if v.Instance != "" {
		q.Set("instance", v.Instance)
	}
	return agentPath(v.ID) + "/logs/line?" + q.Encode()
}

// logLine gives one line whole: that after the one with the cursor.
func (s *Server) logLine(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	a, err := s.agentOf(r)
	if err != nil {
		return err
	}
	found := ""
	query := fleet.LogQuery{AgentID: a.ID, Instance: q.Get("instance"), After: q.Get("after"), Limit: 1}
	err = s.cfg.Fleet.Logs(r.Context(), query, func(l fleet.LogLine) error {
		found = l.Text
		return nil
	})
	if err != nil {
		return err
	}
	plainText(w, "")
	_, _ = w.Write([]byte(found + "\n")) // a client that went away needs no answer
	return nil
}

// plainText makes the answer a text, and a file if it has a name.
func plainText(w http.ResponseWriter, name string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	if name != "" {
		h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	}
}

// logFile gives the newest lines of an agent's output as a file.
func (s *Server) logFile(w http.ResponseWriter, r *http.Request) error {
	a, err := s.agentOf(r)
	if err != nil {
		return err
	}
	q := fleet.LogQuery{AgentID: a.ID, Instance: r.URL.Query().Get("instance"), Tail: maxLogExport}
	begun := false
	err = s.cfg.Fleet.Logs(r.Context(), q, func(l fleet.LogLine) error {
		if !begun {
			plainText(w, a.ID+".log")
			begun = true
		}
		_, err := fmt.Fprintf(w, "%s %s %s %s\n", l.At.UTC().Format("2006-01-02T15:04:05.000Z"), l.Instance, l.Stream, l.Text)
		return err
	})
	if err == nil && !begun {
		plainText(w, a.ID+".log")
		w.WriteHeader(http.StatusOK)
	}
	if begun {
		return nil // the beginning is out; there is no way to say more
	}
	return err
}

// cutText says how much of a line is left out.
func cutText(n int) string { return "Show all (" + view.Bytes(int64(n)) + " more)" }

func logClock(l logLine) string { return l.At.UTC().Format("15:04:05.000") }

// followHref is where the script reads on.
func (v *logView) followHref() string {
	q := url.Values{"follow": {"1"}}
	if v.Instance != "" {
		q.Set("instance", v.Instance)
	}
	return "/api/platform/agents/" + url.PathEscape(v.ID) + "/logs?" + q.Encode()
}

func (v *logView) fileHref() string {
	to := agentPath(v.ID) + "/logs/file"
	if v.Instance != "" {
		to += "?instance=" + queryEscape(v.Instance)
	}
	return to
}

func (v *logView) moreHref() string {
	q := url.Values{"tab": {"logs"}, "lines": {strconv.Itoa(maxLogLines)}}
	for k, s := range map[string]string{"instance": v.Instance, "level": v.Level, "q": v.Search} {
		if s != "" {
			q.Set(k, s)
		}
	}
	return agentPath(v.ID) + "?" + q.Encode()
}
