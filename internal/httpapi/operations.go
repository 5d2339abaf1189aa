package httpapi

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/httpapi/door"
	"github.com/waooaw/platform-portal/internal/operation"
)

func (s *server) registerOperations() {
	door.Handle(s.Door, "list-operations", "List operations, newest first", s.listOperations)
	door.Handle(s.Door, "get-operation", "Get an operation with its steps", s.getOperation)
	door.Handle(s.Door, "operation-attempts", "List every try of every step of an operation", s.operationAttempts)
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
		door.Handle(s.Door, id, step.summary, func(ctx context.Context, in *door.ByID) (*door.Accepted, error) {
			return steered(step.call(ctx, in.ID))
		}, door.Status(http.StatusAccepted))
	}
	door.Handle(s.Door, "cancel-operation", "Cancel an operation and clean up what it made", func(ctx context.Context, in *steerInput) (*door.Accepted, error) {
		return steered(s.cfg.Operations.Cancel(ctx, in.ID))
	}, door.Status(http.StatusAccepted))
	door.Handle(s.Door, "undo-operation", "Take an operation back by a new one", func(ctx context.Context, in *steerInput) (*door.Accepted, error) {
		return steered(s.cfg.Operations.Undo(ctx, in.ID))
	}, door.Status(http.StatusAccepted))
}

type steerInput struct {
	door.ByID
	door.Waitable
}

func steered(op *operation.Operation, err error) (*door.Accepted, error) {
	if err != nil {
		return nil, err
	}
	return door.Begun(op), nil
}

type listOperationsInput struct {
	door.Paging
	State  []string  `query:"state,explode" doc:"PENDING, RUNNING, PAUSED, CANCELLING, SUCCEEDED, FAILED or CANCELLED"`
	Kind   []string  `query:"kind,explode" doc:"e.g. agent.start or bulk"`
	Agent  []string  `query:"agent,explode" doc:"Ids or names of agents"`
	Parent string    `query:"parent_id" maxLength:"200"`
	Actor  string    `query:"actor" maxLength:"200"`
	Since  time.Time `query:"since"`
}

var operationStates = []operation.State{operation.Pending, operation.Running, operation.Paused, operation.Cancelling,
	operation.Succeeded, operation.Failed, operation.Cancelled}

func (s *server) listOperations(ctx context.Context, in *listOperationsInput) (*door.ListAnswer[*operation.Operation], error) {
	q := operation.Query{Kinds: door.Split(in.Kind), ParentID: in.Parent, Actor: in.Actor, Since: in.Since, Limit: in.Limit, Cursor: in.Cursor}
	for _, v := range door.Split(in.State) {
		state := operation.State(strings.ToUpper(v))
		if !slices.Contains(operationStates, state) {
			return nil, door.Invalid("query.state", "there is no state "+strconv.Quote(v))
		}
		q.States = append(q.States, state)
	}
	var err error
	if q.AgentIDs, err = s.AgentIDs(ctx, in.Agent); err != nil {
		return nil, err
	}
	items, next, err := s.cfg.Operations.Find(ctx, q)
	out := door.ListOf(items, next)
	out.Filtered = q.AgentIDs
	return &door.ListAnswer[*operation.Operation]{Body: out}, err
}

type operationOnly struct {
	Body *operation.Operation
}

func (s *server) getOperation(ctx context.Context, in *steerInput) (*operationOnly, error) {
	wait, err := door.WaitOf(in.Wait)
	if err != nil {
		return nil, err
	}
	// Known before it is waited for, so that an unknown one is answered at once.
	op, err := s.cfg.Operations.Get(ctx, in.ID)
	if err == nil && wait > 0 && !op.State.Final() {
		op, err = s.Await(ctx, in.ID, wait)
	}
	if err != nil {
		return nil, err
	}
	return &operationOnly{Body: op}, nil
}

func (s *server) operationAttempts(ctx context.Context, in *door.ByID) (*door.ListAnswer[operation.Attempt], error) {
	if _, err := s.cfg.Operations.Get(ctx, in.ID); err != nil {
		return nil, err
	}
	items, err := s.cfg.Operations.Attempts(ctx, in.ID)
	return &door.ListAnswer[operation.Attempt]{Body: door.ListOf(items, "")}, err
}

// actionsOf reads "action" or "actions".
func actionsOf(one string, many []string) ([]agent.Action, error) {
	if (one == "") == (len(many) == 0) {
		return nil, door.Invalid("action", "give either action or actions")
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
