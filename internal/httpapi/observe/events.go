package observe

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/httpapi/door"
)

func (a *area) registerEvents() {
	door.Handle(a.door, "list-events", "List what happened, with who and why", a.listEvents)
	door.Handle(a.door, "export-events", "Export what happened", a.exportEvents, func(op *huma.Operation) {
		op.Responses = map[string]*huma.Response{"200": {Description: "The events", Content: map[string]*huma.MediaType{
			"application/x-ndjson": {Schema: &huma.Schema{Type: "string"}},
			"text/csv":             {Schema: &huma.Schema{Type: "string"}},
		}}}
	})
}

// EventFilter picks events.
type EventFilter struct {
	door.OfAgents
	Type   []string `query:"type,explode" doc:"e.g. agent:state_changed; agent:* stands for all that begin so"`
	Room   []string `query:"room,explode" doc:"As in live updates"`
	Actor  []string `query:"actor,explode" doc:"Who caused it, e.g. system or user:*"`
	Search string   `query:"q" maxLength:"200" doc:"In type, agent, actor and payload, in any case"`
	Order  string   `query:"order" enum:"desc,asc" default:"desc" doc:"Newest or oldest first"`
	Since  string   `query:"since" maxLength:"40" doc:"From this time on (RFC 3339); or only events after the one with this number"`
	Until  string   `query:"until" maxLength:"40" doc:"Before this time (RFC 3339)"`
}

type eventsInput struct {
	EventFilter
	door.Paging
}

// EventView is an event with what it says.
type EventView struct {
	event.Event
	Summary string `json:"summary" doc:"What happened, by whom and why, in a sentence"`
}

// eventQuery gives the query of the filter. What is confidential is for
// administrators.
func (a *area) eventQuery(ctx context.Context, in EventFilter) (event.Query, error) {
	q := event.Query{
		Rooms: door.Split(in.Room), Actors: door.Split(in.Actor), Search: in.Search, Newest: in.Order != "asc",
		Open: !auth.From(ctx).Role.Includes(auth.Admin),
	}
	for _, t := range door.Split(in.Type) {
		q.Types = append(q.Types, event.Type(t))
	}
	if len(q.Types) > 100 || len(q.Actors) > 100 || len(q.Rooms) > 100 {
		return q, door.Invalid("query", "names more than 100 types, actors or rooms")
	}
	var err error
	if q.AgentID, err = a.door.AgentIDs(ctx, in.Agent); err != nil {
		return q, err
	}
	if q.Since, q.After, err = beginning("query.since", in.Since); err != nil {
		return q, err
	}
	if in.Until != "" {
		if q.Until, err = time.Parse(time.RFC3339, in.Until); err != nil {
			return q, door.Invalid("query.until", "must be a time as in RFC 3339")
		}
	}
	return q, nil
}

// searching is how long a search may take.
const searching = 10 * time.Second

// find finds events; a search that takes too long is given up.
func (a *area) find(ctx context.Context, q event.Query) ([]event.Event, error) {
	limited, cancel := context.WithTimeout(ctx, searching)
	defer cancel()
	found, err := a.cfg.Events.Find(limited, q)
	if limited.Err() != nil && ctx.Err() == nil {
		return nil, fault.New(fault.TooLarge, "events.search_too_long", "The search took too long").
			Because("it looked at events for %s", searching).Do("Narrow it by time, type or agent.")
	}
	return found, err
}

func (a *area) listEvents(ctx context.Context, in *eventsInput) (*door.ListAnswer[EventView], error) {
	q, err := a.eventQuery(ctx, in.EventFilter)
	if err != nil {
		return nil, err
	}
	q.Limit = in.Limit
	at, err := sequence("query.cursor", in.Cursor)
	if err != nil {
		return nil, err
	}
	if q.Newest {
		q.Before = at
	} else {
		q.After = max(q.After, at)
	}
	found, err := a.find(ctx, q)
	if err != nil {
		return nil, err
	}
	next := ""
	if n := len(found); n == in.Limit {
		next = strconv.FormatInt(found[n-1].Seq, 10)
	}
	views, err := a.eventViews(ctx, found)
	out := door.ListOf(views, next)
	out.Filtered = q.AgentID
	return &door.ListAnswer[EventView]{Body: out}, err
}

// eventViews says what the events say, with the names of their agents.
func (a *area) eventViews(ctx context.Context, found []event.Event) ([]EventView, error) {
	names := map[string]string{}
	var ids []string
	for _, e := range found {
		if _, known := names[e.AgentID]; e.AgentID != "" && !known {
			names[e.AgentID] = e.AgentID
			ids = append(ids, e.AgentID)
		}
	}
	for len(ids) > 0 {
		n := min(len(ids), 200)
		page, err := a.cfg.Agents.Find(ctx, agent.Query{IDs: ids[:n], Limit: 1000})
		if err != nil {
			return nil, err
		}
		for _, one := range page.Agents {
			names[one.ID] = one.Spec.Name
		}
		ids = ids[n:]
	}
	views := make([]EventView, len(found))
	for i, e := range found {
		views[i] = EventView{Event: e, Summary: event.Say(e, func(id string) string { return names[id] }).String()}
	}
	return views, nil
}

type exportEventsInput struct {
	EventFilter
	Format string `query:"format" enum:"jsonl,csv" default:"jsonl"`
}

func (a *area) exportEvents(ctx context.Context, in *exportEventsInput) (*exportAnswer, error) {
	q, err := a.eventQuery(ctx, in.EventFilter)
	if err != nil {
		return nil, err
	}
	// Who takes the stream away is on record.
	if err := a.cfg.Recorder.Record(ctx, "events.export", "events", audit.Done, "", nil, map[string]any{"format": in.Format}); err != nil {
		return nil, err
	}
	return &exportAnswer{Body: func(c huma.Context) {
		r, w := humago.Unwrap(c)
		w.Header().Set("Content-Type", map[string]string{"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}[in.Format])
		w.Header().Set("Content-Disposition", `attachment; filename="events.`+in.Format+`"`)
		if err := a.writeEvents(r.Context(), q, in.Format, w); err != nil && !errors.Is(err, context.Canceled) {
			panic(err) // cut the connection, so that nobody takes a part for the whole
		}
	}}, nil
}

// exportPage is how many events are read at once.
const exportPage = 500

func (a *area) writeEvents(ctx context.Context, q event.Query, format string, to http.ResponseWriter) error {
	out := bufio.NewWriter(door.Patient{ResponseWriter: to})
	put := json.NewEncoder(out).Encode
	if format == "csv" {
		c := csv.NewWriter(out)
		if err := c.Write([]string{"seq", "at", "type", "agent_id", "actor", "summary", "data"}); err != nil {
			return err
		}
		put = func(v any) error {
			e, _ := v.(EventView)
			defer c.Flush()
			return c.Write([]string{
				strconv.FormatInt(e.Seq, 10), e.At.UTC().Format(time.RFC3339Nano), audit.Cell(string(e.Type)), audit.Cell(e.AgentID),
				audit.Cell(e.Actor), audit.Cell(e.Summary), audit.Cell(string(e.Data)),
			})
		}
		c.Flush()
	}
	q.Limit = exportPage
	for {
		found, err := a.find(ctx, q)
		if err != nil {
			return err
		}
		views, err := a.eventViews(ctx, found)
		if err != nil {
			return err
		}
		for _, v := range views {
			if err := put(v); err != nil {
				return err
			}
		}
		if err := out.Flush(); err != nil || len(found) < exportPage {
			return err
		}
		if last := found[len(found)-1].Seq; q.Newest {
			q.Before = last
		} else {
			q.After = last
		}
	}
}

// beginning reads where to begin: a time, or the number of an event.
func beginning(path, text string) (time.Time, int64, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, 0, nil
	}
	n, err := sequence(path, text)
	if err != nil {
		err = door.Invalid(path, "must be a time as in RFC 3339, or the number of an event")
	}
	return time.Time{}, n, err
}

// sequence reads the number of an event.
func sequence(path, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, door.Invalid(path, "must be the number of an event")
	}
	return n, nil
}
