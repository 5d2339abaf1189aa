package observe

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/waooaw/platform-portal/internal/httpapi/door"
	"github.com/waooaw/platform-portal/internal/logs"
)

// Logs answers what agents wrote. See logs.Service.
type Logs interface {
	Find(ctx context.Context, q logs.Query, cursor string) (logs.Page, error)
	Histogram(ctx context.Context, q logs.Query, buckets int) ([]logs.Bucket, time.Duration, error)
	Around(ctx context.Context, agentID, instance, cursor string, before, after int) (list []logs.Entry, at int, err error)
	Fields(ctx context.Context, q logs.Query, field string, limit int) ([]logs.Value, error)
	Each(ctx context.Context, q logs.Query, most int, fn func(logs.Entry) error) error
	Tail(q logs.Query, cursor string) (*logs.Listener, error)
	Status(ctx context.Context) logs.Status
}

func (a *area) registerLogs() {
	door.Handle(a.door, "list-logs", "Search what agents wrote", a.listLogs)
	door.Handle(a.door, "logs-histogram", "Count what agents wrote, over time and by level", a.logsHistogram)
	door.Handle(a.door, "logs-context", "What an instance wrote before and after an entry", a.logsContext)
	door.Handle(a.door, "logs-fields", "The fields that entries have, or the values of one", a.logsFields)
	door.Handle(a.door, "logs-status", "How the log store is, and how far the output of agents was taken in", a.logsStatus)
	door.Handle(a.door, "logs-download", "Get what agents wrote as a file", a.logsDownload, func(op *huma.Operation) {
		op.Responses = map[string]*huma.Response{"200": {Description: "The entries; the newest are kept where there are more than limit", Content: map[string]*huma.MediaType{
			"text/plain": {Schema: &huma.Schema{Type: "string"}}, "application/x-ndjson": {Schema: &huma.Schema{Type: "string"}},
		}}}
	})
	door.Handle(a.door, "logs-tail", "What agents write, as server-sent events", a.logsTail, func(op *huma.Operation) {
		schemas := a.door.OpenAPI().Components.Schemas
		schemas.Schema(reflect.TypeFor[logs.Entry](), true, "LogEntry")
		op.Responses = map[string]*huma.Response{"200": {Description: "Events entry (an entry), and missed (how many were left out because they came too fast). Their id is a cursor: a client that comes back with Last-Event-ID goes on there.",
			Content: map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: "string"}}}}}
	})
}

// LogWhat selects entries by what and who.
type LogWhat struct {
	door.OfAgents
	Search   string     `query:"q" maxLength:"1000" doc:"Words that must all be there, in any case and as the beginning of words; \"a phrase\"; field:value; status:>=500; -without"`
	Level    logs.Level `query:"level" enum:"debug,info,warn,error" doc:"At least this grave"`
	Instance string     `query:"instance" maxLength:"300"`
	Stream   string     `query:"stream" enum:"stdout,stderr,portal"`
	Filter   string     `query:"filter" maxLength:"4000" doc:"A filter in LogsQL, without pipes"`
}

// LogWhen selects entries by their time.
type LogWhen struct {
	Since time.Time `query:"since" doc:"From then on; an hour before until where it is left out"`
	Until time.Time `query:"until" doc:"Before then; now where it is left out"`
}

// logQuery makes a query, and gives the agents that were named.
func (a *area) logQuery(ctx context.Context, what LogWhat, when LogWhen) (logs.Query, []string, error) {
	ids, err := a.door.AgentIDs(ctx, what.Agent)
	return logs.Query{Text: what.Search, Filter: what.Filter, Level: what.Level, Agents: ids, Instance: what.Instance, Stream: what.Stream,
		Since: when.Since, Until: when.Until}, ids, err
}

type listLogsInput struct {
	LogWhat
	LogWhen
	door.Paging
	Order string `query:"order" enum:"desc,asc" default:"desc" doc:"Newest or oldest first"`
}

// LogPage is a page of what agents wrote.
type LogPage struct {
	door.List[logs.Entry]
	Since time.Time `json:"since" doc:"What was searched"`
	Until time.Time `json:"until"`
}

type listLogsAnswer struct{ Body LogPage }

func (a *area) listLogs(ctx context.Context, in *listLogsInput) (*listLogsAnswer, error) {
	q, ids, err := a.logQuery(ctx, in.LogWhat, in.LogWhen)
	if err != nil {
		return nil, err
	}
	q.Limit, q.Oldest = in.Limit, in.Order == "asc"
	page, err := a.cfg.Logs.Find(ctx, q, in.Cursor)
	if err != nil {
		return nil, err
	}
	out := LogPage{List: door.ListOf(page.Entries, page.Next), Since: page.Since, Until: page.Until}
	out.Filtered = ids
	return &listLogsAnswer{Body: out}, nil
}

type logsHistogramInput struct {
	LogWhat
	LogWhen
	Buckets int `query:"buckets" minimum:"1" maximum:"300" default:"60" doc:"Spans at most"`
}

// LogHistogram is how many entries there are over time.
type LogHistogram struct {
	Step     float64       `json:"step_seconds"`
	Total    int           `json:"total"`
	Buckets  []logs.Bucket `json:"buckets"`
	Filtered []string      `json:"filtered_by_agent,omitempty"`
}

type logsHistogramAnswer struct{ Body LogHistogram }

func (a *area) logsHistogram(ctx context.Context, in *logsHistogramInput) (*logsHistogramAnswer, error) {
	q, ids, err := a.logQuery(ctx, in.LogWhat, in.LogWhen)
	if err != nil {
		return nil, err
	}
	list, step, err := a.cfg.Logs.Histogram(ctx, q, in.Buckets)
	if err != nil {
		return nil, err
	}
	out := LogHistogram{Step: step.Seconds(), Buckets: list, Filtered: ids}
	for _, b := range list {
		out.Total += b.Total
	}
	return &logsHistogramAnswer{Body: out}, nil
}

type logsContextInput struct {
	Agent    string `query:"agent" required:"true" maxLength:"200"`
	Instance string `query:"instance" required:"true" maxLength:"300"`
	Cursor   string `query:"cursor" required:"true" maxLength:"100" doc:"Of the entry"`
	Before   int    `query:"before" minimum:"0" maximum:"500" default:"20"`
	After    int    `query:"after" minimum:"0" maximum:"500" default:"20"`
}

// LogContext is an entry among those around it.
type LogContext struct {
	Items    []logs.Entry `json:"items" doc:"The oldest first"`
	At       int          `json:"at" doc:"Which of them was asked for, from 0"`
	Filtered []string     `json:"filtered_by_agent"`
}

type logsContextAnswer struct{ Body LogContext }

func (a *area) logsContext(ctx context.Context, in *logsContextInput) (*logsContextAnswer, error) {
	ids, err := a.door.AgentIDs(ctx, []string{in.Agent})
	if err != nil {
		return nil, err
	}
	if len(ids) != 1 {
		return nil, door.Invalid("query.agent", "must name one agent")
	}
	list, at, err := a.cfg.Logs.Around(ctx, ids[0], in.Instance, in.Cursor, in.Before, in.After)
	return &logsContextAnswer{Body: LogContext{Items: list, At: at, Filtered: ids}}, err
}

type logsFieldsInput struct {
	LogWhat
	LogWhen
	Field string `query:"field" maxLength:"100" doc:"Gives the most frequent values of this field"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

func (a *area) logsFields(ctx context.Context, in *logsFieldsInput) (*door.ListAnswer[logs.Value], error) {
	q, ids, err := a.logQuery(ctx, in.LogWhat, in.LogWhen)
	if err != nil {
		return nil, err
	}
	list, err := a.cfg.Logs.Fields(ctx, q, in.Field, in.Limit)
	out := door.ListOf(list, "")
	out.Filtered = ids
	return &door.ListAnswer[logs.Value]{Body: out}, err
}

type logsStatusAnswer struct{ Body logs.Status }

func (a *area) logsStatus(ctx context.Context, _ *struct{}) (*logsStatusAnswer, error) {
	return &logsStatusAnswer{Body: a.cfg.Logs.Status(ctx)}, nil
}

type logsDownloadInput struct {
	LogWhat
	LogWhen
	Format string `query:"format" enum:"text,jsonl" default:"text"`
	Limit  int    `query:"limit" minimum:"1" maximum:"100000" default:"10000" doc:"Entries at most"`
	Order  string `query:"order" enum:"desc,asc" default:"asc" doc:"asc gives the oldest of the time first, desc the newest"`
}

type logsStreamAnswer struct{ Body func(huma.Context) }

// downloadMost is how many bytes a file has at most.
const downloadMost = 256 << 20

func (a *area) logsDownload(ctx context.Context, in *logsDownloadInput) (*logsStreamAnswer, error) {
	q, _, err := a.logQuery(ctx, in.LogWhat, in.LogWhen)
	if err != nil {
		return nil, err
	}
	q.Oldest = in.Order == "asc"
	// Whether it can be answered shows before the answer begins.
	probe := q
	probe.Limit = 1
	if _, err := a.cfg.Logs.Find(ctx, probe, ""); err != nil {
		return nil, err
	}
	return &logsStreamAnswer{Body: func(c huma.Context) {
		r, w := humago.Unwrap(c)
		kind, name := "text/plain; charset=utf-8", "logs.txt"
		if in.Format == "jsonl" {
			kind, name = "application/x-ndjson", "logs.jsonl"
		}
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(http.StatusOK)
		out := &bounded{w: door.Patient{ResponseWriter: w}, left: downloadMost}
		err := a.cfg.Logs.Each(r.Context(), q, in.Limit, func(e logs.Entry) error { return writeEntry(out, in.Format, e) })
		if err != nil && r.Context().Err() == nil {
			// The beginning is out: cut the connection, so that nobody takes a part
			// for the whole.
			_ = a.door.ProblemOf(r.Context(), err)
			panic(http.ErrAbortHandler)
		}
	}}, nil
}

// bounded is a writer that ends after so many bytes.
type bounded struct {
	w    io.Writer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, io.ErrShortWrite
	}
	return b.w.Write(p)
}

// writeEntry writes an entry as one object, or as the text that people read.
func writeEntry(w io.Writer, format string, e logs.Entry) error {
	if format == "jsonl" {
		return json.NewEncoder(w).Encode(e)
	}
	_, err := io.WriteString(w, logs.Plain(e)+"\n")
	return err
}

type logsTailInput struct {
	LogWhat
	Cursor string `query:"cursor" maxLength:"100" doc:"Go on after the entry with this cursor, as far as it is remembered"`
	Last   string `header:"Last-Event-ID" maxLength:"100"`
}

func (a *area) logsTail(ctx context.Context, in *logsTailInput) (*logsStreamAnswer, error) {
	q, _, err := a.logQuery(ctx, in.LogWhat, LogWhen{})
	if err != nil {
		return nil, err
	}
	if in.Last != "" {
		in.Cursor = in.Last
	}
	l, err := a.cfg.Logs.Tail(q, in.Cursor)
	if err != nil {
		return nil, err
	}
	return &logsStreamAnswer{Body: func(c huma.Context) {
		defer l.Close()
		r, w := humago.Unwrap(c)
		ctx, cancel := context.WithCancel(r.Context())
		watched := make(chan struct{})
		go func() { defer close(watched); a.door.WhileAllowed(ctx, cancel) }()
		a.stream(ctx, w, l)
		cancel()
		<-watched
	}}, nil
}

// beatEvery is how often a quiet stream says that it is alive.
const beatEvery = 15 * time.Second

// stream writes entries as they come until ctx ends or the client is gone.
func (a *area) stream(ctx context.Context, w http.ResponseWriter, l *logs.Listener) {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // or proxies keep events back
	w.WriteHeader(http.StatusOK)
	control, out := http.NewResponseController(w), door.Patient{ResponseWriter: w}
	put := func(text string) bool {
		_, err := io.WriteString(out, text)
		return err == nil && control.Flush() == nil
	}
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	for ok := put("retry: 2000\n\n"); ok; {
		select {
		case <-ctx.Done():
			return
		case <-l.Ended():
			return
		case <-beat.C:
			ok = put(": heartbeat\n\n")
		case <-l.Ready():
			list, missed := l.Take()
			var b strings.Builder
			if missed > 0 {
				fmt.Fprintf(&b, "event: missed\ndata: {\"count\":%d}\n\n", missed)
			}
			for _, e := range list {
				text, err := json.Marshal(e)
				if err != nil {
					continue
				}
				fmt.Fprintf(&b, "id: %s\nevent: entry\ndata: %s\n\n", e.Cursor, text)
			}
			ok = put(b.String())
		}
	}
}
