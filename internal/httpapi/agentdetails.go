package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/health"
	"github.com/waooaw/platform-portal/internal/httpapi/door"
)

func (s *server) registerAgentDetails() {
	door.Handle(s.Door, "agent-history", "List the states an agent went through, newest first", s.agentHistory)
	door.Handle(s.Door, "agent-instances", "List an agent's instances", s.agentInstances)
	door.Handle(s.Door, "agent-versions", "List the revisions of an agent's spec, newest first", s.agentVersions)
	door.Handle(s.Door, "agent-health", "List what the probes of an agent found, newest first", s.agentHealth)
	door.Handle(s.Door, "agent-logs", "Read an agent's output", s.agentLogs, func(op *huma.Operation) {
		schemas := s.OpenAPI().Components.Schemas
		op.Responses = map[string]*huma.Response{"200": {Description: "Lines; with follow=1 one JSON object a line, without end",
			Content: map[string]*huma.MediaType{
				"application/json":     {Schema: schemas.Schema(reflect.TypeFor[door.List[fleet.LogLine]](), true, "LogLines")},
				"application/x-ndjson": {Schema: schemas.Schema(reflect.TypeFor[fleet.LogLine](), true, "LogLine")},
			}}}
	})
}

type agentPage struct {
	door.ByID
	door.Paging
}

func (s *server) agentHistory(ctx context.Context, in *agentPage) (*door.ListAnswer[agent.Transition], error) {
	id, err := s.IDOf(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	items, next, err := s.cfg.History.Transitions(ctx, id, in.Cursor, in.Limit)
	return &door.ListAnswer[agent.Transition]{Body: door.ListOf(items, next)}, err
}

func (s *server) agentInstances(ctx context.Context, in *door.ByID) (*door.ListAnswer[fleet.Instance], error) {
	id, err := s.IDOf(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	all, err := s.cfg.Fleet.Instances(ctx, id)
	return &door.ListAnswer[fleet.Instance]{Body: door.ListOf(all[id], "")}, err
}

func (s *server) agentVersions(ctx context.Context, in *agentPage) (*door.ListAnswer[agent.Revision], error) {
	id, err := s.IDOf(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	before := 0
	if in.Cursor != "" {
		if before, err = strconv.Atoi(in.Cursor); err != nil || before < 1 {
			return nil, door.Invalid("query.cursor", "is not a cursor of this list")
		}
	}
	items, err := s.cfg.History.Revisions(ctx, id, before, in.Limit)
	next := ""
	if n := len(items); err == nil && n == in.Limit && items[n-1].Number > 1 {
		next = strconv.Itoa(items[n-1].Number)
	}
	return &door.ListAnswer[agent.Revision]{Body: door.ListOf(items, next)}, err
}

func (s *server) agentHealth(ctx context.Context, in *agentPage) (*door.ListAnswer[health.Result], error) {
	id, err := s.IDOf(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	items, next, err := s.cfg.Probes.Results(ctx, id, in.Cursor, in.Limit)
	return &door.ListAnswer[health.Result]{Body: door.ListOf(items, next)}, err
}

type logsInput struct {
	door.ByID
	Limit    int       `query:"limit" minimum:"1" maximum:"1000" doc:"How many lines at most; default 200, with follow no limit"`
	Cursor   string    `query:"cursor" maxLength:"1000" doc:"Go on after the line with this cursor"`
	Tail     int       `query:"tail" minimum:"1" maximum:"1000" doc:"Only the last lines"`
	Since    time.Time `query:"since" doc:"Only lines from then on"`
	Instance string    `query:"instance" maxLength:"300"`
	Follow   bool      `query:"follow" doc:"Go on with new lines, as application/x-ndjson"`
}

type logsAnswer struct{ Body func(huma.Context) }

// maxFollowers is how many clients may follow logs at once.
const maxFollowers = 256

// linesAtOnce is how many lines are given where the client does not say.
const linesAtOnce = 200

func (s *server) agentLogs(ctx context.Context, in *logsInput) (*logsAnswer, error) {
	id, err := s.IDOf(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	q := fleet.LogQuery{AgentID: id, Instance: in.Instance, Since: in.Since, Tail: in.Tail, After: in.Cursor, Limit: in.Limit, Follow: in.Follow}
	fromEnd := in.Cursor == "" && in.Since.IsZero()
	if fromEnd && q.Tail == 0 {
		q.Tail = linesAtOnce
		if in.Limit > 0 {
			q.Tail = in.Limit
		}
	}
	if in.Follow {
		// Whether there is something to follow shows before the answer begins.
		probe := fleet.LogQuery{AgentID: id, Instance: in.Instance, Tail: 1, Limit: 1}
		if err := s.cfg.Fleet.Logs(ctx, probe, func(fleet.LogLine) error { return nil }); err != nil {
			return nil, err
		}
		select {
		case s.followers <- struct{}{}:
		default:
			return nil, fault.New(fault.RateLimited, "logs.too_many", "Too many clients follow logs").Do("Close some, or read pages.")
		}
		return &logsAnswer{Body: func(c huma.Context) {
			defer func() { <-s.followers }()
			s.followLogs(c, q)
		}}, nil
	}
	if q.Limit == 0 {
		q.Limit = linesAtOnce
	}
	lines := []fleet.LogLine{}
	err = s.cfg.Fleet.Logs(ctx, q, func(l fleet.LogLine) error {
		lines = append(lines, l)
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := door.ListOf(lines, "")
	if n := len(lines); n > 0 && n == q.Limit && q.Tail == 0 {
		out.Next = lines[n-1].Cursor
	}
	return &logsAnswer{Body: func(c huma.Context) {
		c.SetHeader("Content-Type", "application/json")
		_ = json.NewEncoder(c.BodyWriter()).Encode(out)
	}}, nil
}

// followLogs writes lines as they come until the client goes or its access ends.
func (s *server) followLogs(c huma.Context, q fleet.LogQuery) {
	r, w := humago.Unwrap(c)
	ctx, cancel := context.WithCancel(r.Context())
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	watch.Go(func() { s.WhileAllowed(ctx, cancel) })
	control := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("X-Accel-Buffering", "no") // or proxies keep lines back
	w.WriteHeader(http.StatusOK)
	_ = control.Flush()
	enc := json.NewEncoder(door.Patient{ResponseWriter: w})
	err := s.cfg.Fleet.Logs(ctx, q, func(l fleet.LogLine) error {
		if err := enc.Encode(l); err != nil {
			return err
		}
		return control.Flush()
	})
	if err != nil && ctx.Err() == nil {
		_ = s.ProblemOf(ctx, err) // logged if it is ours; the client sees the stream end
	}
}
