package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/operation"
)

func (s *server) registerOperations() {
	handle(s, "list-operations", "List operations, newest first", s.listOperations)
	handle(s, "get-operation", "Get an operation with its steps", s.getOperation)
	handle(s, "operation-attempts", "List every try of every step of an operation", s.operationAttempts)
	for id, step := range map[string]struct {
		summary string
		call    func(context.Context, string) (*operation.Operation, error)
	}{
		"pause-operation": {"Pause an operation after the step it is at", func(ctx context.Context, id string) (*operation.Operation, error) {
			return s.cfg.Operations.Pause(ctx, id)
		}},
		"resume-operation": {"Go on with a paused operation", func(ctx context.Context, id string) (*operation.Operation, error) {
			return s.cfg.Operations.Resume(ctx, id)
		}},
	} {
		handle(s, id, step.summary, func(ctx context.Context, in *ByID) (*accepted202, error) {
			return steered(step.call(ctx, in.ID))
		}, status(http.StatusAccepted))
	}
	handle(s, "cancel-operation", "Cancel an operation and clean up what it made", func(ctx context.Context, in *steerInput) (*accepted202, error) {
		return steered(s.cfg.Operations.Cancel(ctx, in.ID))
	}, status(http.StatusAccepted))
	handle(s, "undo-operation", "Take an operation back by a new one", func(ctx context.Context, in *steerInput) (*accepted202, error) {
		return steered(s.cfg.Operations.Undo(ctx, in.ID))
	}, status(http.StatusAccepted))
}

type steerInput struct {
	ByID
	Waitable
}

func steered(op *operation.Operation, err error) (*accepted202, error) {
	if err != nil {
		return nil, err
	}
	return begun(op), nil
}

type listOperationsInput struct {
	Paging
	State  []string  `query:"state,explode" doc:"PENDING, RUNNING, PAUSED, CANCELLING, SUCCEEDED, FAILED or CANCELLED"`
	Kind   []string  `query:"kind,explode" doc:"e.g. agent.start or bulk"`
	Agent  []string  `query:"agent,explode" doc:"Ids or names of agents"`
	Parent string    `query:"parent_id" maxLength:"200"`
	Actor  string    `query:"actor" maxLength:"200"`
	Since  time.Time `query:"since"`
}

var operationStates = []operation.State{operation.Pending, operation.Running, operation.Paused, operation.Cancelling,
	operation.Succeeded, operation.Failed, operation.Cancelled}

func (s *server) listOperations(ctx context.Context, in *listOperationsInput) (*listAnswer[*operation.Operation], error) {
	q := operation.Query{Kinds: split(in.Kind), ParentID: in.Parent, Actor: in.Actor, Since: in.Since, Limit: in.Limit, Cursor: in.Cursor}
	for _, v := range split(in.State) {
		state := operation.State(strings.ToUpper(v))
		if !slices.Contains(operationStates, state) {
			return nil, invalid("query.state", "there is no state "+strconv.Quote(v))
		}
		q.States = append(q.States, state)
	}
	var err error
	if q.AgentIDs, err = s.agentIDs(ctx, in.Agent); err != nil {
		return nil, err
	}
	items, next, err := s.cfg.Operations.Find(ctx, q)
	out := listOf(items, next)
	out.Filtered = q.AgentIDs
	return &listAnswer[*operation.Operation]{Body: out}, err
}

// agentIDs gives the ids of the agents that ?agent= names by id or name, in
// any case. One that is not there (any more) is taken as an id.
func (s *server) agentIDs(ctx context.Context, named []string) ([]string, error) {
	names := split(named)
	if len(names) == 0 {
		return nil, nil
	}
	if len(names) > 100 {
		return nil, invalid("query.agent", "names more than 100 agents")
	}
	page, err := s.cfg.AgentStore.Find(ctx, agent.Query{IDs: names, Limit: 1000})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names {
		i := slices.IndexFunc(page.Agents, func(a *agent.Agent) bool {
			return strings.EqualFold(a.ID, name) || strings.EqualFold(a.Spec.Name, name)
		})
		id := strings.ToLower(name)
		if i >= 0 {
			id = page.Agents[i].ID
		}
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out, nil
}

type operationOnly struct {
	Body *operation.Operation
}

func (s *server) getOperation(ctx context.Context, in *steerInput) (*operationOnly, error) {
	wait, err := waitOf(in.Wait)
	if err != nil {
		return nil, err
	}
	// Known before it is waited for, so that an unknown one is answered at once.
	op, err := s.cfg.Operations.Get(ctx, in.ID)
	if err == nil && wait > 0 && !op.State.Final() {
		op, err = s.await(ctx, in.ID, wait)
	}
	if err != nil {
		return nil, err
	}
	return &operationOnly{Body: op}, nil
}

func (s *server) operationAttempts(ctx context.Context, in *ByID) (*listAnswer[operation.Attempt], error) {
	if _, err := s.cfg.Operations.Get(ctx, in.ID); err != nil {
		return nil, err
	}
	items, err := s.cfg.Operations.Attempts(ctx, in.ID)
	return &listAnswer[operation.Attempt]{Body: listOf(items, "")}, err
}

// actionsOf reads "action" or "actions".
func actionsOf(one string, many []string) ([]agent.Action, error) {
	if (one == "") == (len(many) == 0) {
		return nil, invalid("action", "give either action or actions")
	}
	if one != "" {
		many = []string{one}
	}
	out := make([]agent.Action, len(many))
	for i, name := range many {
		out[i] = agent.Action(strings.ToLower(name))
		if _, ok := agent.RuleOf(out[i]); !ok {
			return nil, fault.New(fault.Invalid, "agent.unknown_action", "There is no action %s", strconv.Quote(name)).
				Do("Use one of the actions listed.").With("actions", agent.Actions()).
				At(fault.Field{Path: "actions[" + strconv.Itoa(i) + "]", Message: "is not an action"})
		}
	}
	return out, nil
}

// waiting serves ?wait= on routes that start an operation. It stands outside
// of the transaction of the request: the operation begins after its commit.
func (s *server) waiting(route *Route, next http.Handler) http.Handler {
	if !route.Waits {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wait, err := waitOf(r.URL.Query().Get("wait"))
		if err != nil {
			s.fail(w, r, err)
			return
		}
		if wait == 0 {
			next.ServeHTTP(w, r)
			return
		}
		rec := newRecorder()
		next.ServeHTTP(rec, r)
		if rec.status == http.StatusAccepted {
			if err := s.settle(r.Context(), rec, wait); err != nil {
				s.fail(w, r, err)
				return
			}
		}
		rec.send(w)
	})
}

// settle waits for the operation of the answer and brings the answer up to
// date: 200 with the final operation, or 202 with how far it has come.
func (s *server) settle(ctx context.Context, rec *recorder, wait time.Duration) error {
	place := rec.header.Get("Location")
	op, err := s.await(ctx, path.Base(place), wait)
	if err != nil {
		return err
	}
	var body any = operationAnswer{Operation: op}
	if path.Base(path.Dir(place)) == "bulk" {
		if body, err = s.bulkAnswer(ctx, op.ID); err != nil {
			return err
		}
	}
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	rec.body.Reset()
	_, _ = rec.body.Write(append(text, '\n'))
	if op.State.Final() {
		rec.status = http.StatusOK
	}
	return nil
}

// await gives the operation once it is final, or as it is when the time is up.
func (s *server) await(ctx context.Context, id string, wait time.Duration) (*operation.Operation, error) {
	if wait > 0 {
		limited, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		op, err := s.cfg.Operations.Wait(limited, id)
		if err == nil && op != nil {
			return op, nil
		}
		if limited.Err() == nil {
			return nil, err
		}
	}
	return s.cfg.Operations.Get(ctx, id)
}

// waitOf reads how long a client wants to wait.
func waitOf(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > maxWait {
		return 0, fault.New(fault.Invalid, "request.invalid", "The request is not valid").
			At(fault.Field{Path: "query.wait", Message: "must be a duration of at most 5m, such as 30s"})
	}
	return d, nil
}
