package observe

import (
	"context"
	"net/http"
	"time"

	"github.com/waooaw/platform-portal/internal/httpapi/door"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/recovery"
	"github.com/waooaw/platform-portal/internal/recovery/cause"
)

// Errors keeps the record of what goes wrong, and mends it. See recovery.Service.
type Errors interface {
	List(ctx context.Context, q recovery.Query) ([]*recovery.Incident, string, error)
	Get(ctx context.Context, id string) (*recovery.Incident, error)
	Patterns(ctx context.Context, agentIDs []string, least, limit int) ([]recovery.Pattern, error)
	Preview(ctx context.Context, id string, fix cause.Fix, parameters map[string]any) (recovery.Preview, error)
	Fix(ctx context.Context, id string, fix cause.Fix, parameters map[string]any) (*operation.Operation, error)
	Dismiss(ctx context.Context, id, reason string) (*recovery.Incident, error)
	Policies(ctx context.Context) (recovery.Policies, error)
	SetPolicies(ctx context.Context, p recovery.Policies) (recovery.Policies, error)
}

func (a *area) registerErrors() {
	door.Handle(a.door, "list-errors", "What went wrong with agents, newest first", a.listErrors)
	door.Handle(a.door, "agent-errors", "What went wrong with an agent, newest first", a.agentErrors)
	door.Handle(a.door, "get-error", "One error with its cause, evidence and suggestions", a.getError)
	door.Handle(a.door, "error-patterns", "What came back again and again in the last 30 days", a.errorPatterns)
	door.Handle(a.door, "preview-fix", "What a fix would do; does nothing", a.previewFix)
	door.Handle(a.door, "apply-fix", "Carry out a fix", a.applyFix, door.Status(http.StatusAccepted))
	door.Handle(a.door, "dismiss-error", "End an error without a fix", a.dismissError)
	door.Handle(a.door, "get-recovery-policies", "How much is mended by itself", a.getPolicies)
	door.Handle(a.door, "set-recovery-policies", "Say how much is mended by itself", a.setPolicies)
}

// ErrorFilter picks errors.
type ErrorFilter struct {
	State []string  `query:"state,explode" enum:"open,recovering,recovered,dismissed"`
	Class []string  `query:"class,explode" enum:"transient,permanent,configuration,dependency"`
	Cause []string  `query:"cause,explode" doc:"e.g. port_in_use"`
	Since time.Time `query:"since" doc:"Seen last at or after this time"`
}

func (f ErrorFilter) query(p door.Paging) recovery.Query {
	q := recovery.Query{Since: f.Since, Limit: p.Limit, Cursor: p.Cursor}
	for _, s := range door.Split(f.State) {
		q.States = append(q.States, recovery.State(s))
	}
	for _, s := range door.Split(f.Class) {
		q.Classes = append(q.Classes, cause.Class(s))
	}
	for _, s := range door.Split(f.Cause) {
		q.Causes = append(q.Causes, cause.Code(s))
	}
	return q
}

type listErrorsInput struct {
	door.OfAgents
	door.Paging
	ErrorFilter
}

func (a *area) listErrors(ctx context.Context, in *listErrorsInput) (*door.ListAnswer[*recovery.Incident], error) {
	ids, err := a.door.AgentIDs(ctx, in.Agent)
	if err != nil {
		return nil, err
	}
	q := in.query(in.Paging)
	q.AgentIDs = ids
	items, next, err := a.cfg.Errors.List(ctx, q)
	out := door.ListOf(items, next)
	out.Filtered = ids
	return &door.ListAnswer[*recovery.Incident]{Body: out}, err
}

func (a *area) agentErrors(ctx context.Context, in *struct {
	door.ByID
	door.Paging
	ErrorFilter
}) (*door.ListAnswer[*recovery.Incident], error) {
	id, err := a.door.IDOf(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	q := in.query(in.Paging)
	q.AgentIDs = []string{id}
	items, next, err := a.cfg.Errors.List(ctx, q)
	out := door.ListOf(items, next)
	out.Filtered = q.AgentIDs
	return &door.ListAnswer[*recovery.Incident]{Body: out}, err
}

type errorAnswer struct{ Body *recovery.Incident }

func (a *area) getError(ctx context.Context, in *door.ByID) (*errorAnswer, error) {
	out, err := a.cfg.Errors.Get(ctx, in.ID)
	return &errorAnswer{Body: out}, err
}

func (a *area) errorPatterns(ctx context.Context, in *struct {
	door.OfAgents
	Least int `query:"at_least" minimum:"2" maximum:"1000" default:"2" doc:"How often it must have come back"`
	Limit int `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}) (*door.ListAnswer[recovery.Pattern], error) {
	ids, err := a.door.AgentIDs(ctx, in.Agent)
	if err != nil {
		return nil, err
	}
	items, err := a.cfg.Errors.Patterns(ctx, ids, in.Least, in.Limit)
	out := door.ListOf(items, "")
	out.Filtered = ids
	return &door.ListAnswer[recovery.Pattern]{Body: out}, err
}

// FixParameters are the body of fixes; it may be left out.
type FixParameters struct {
	Parameters map[string]any `json:"parameters,omitempty" doc:"In place of those that are suggested, e.g. {\"to\": 8081}"`
}

// ByFix names a fix of an error.
type ByFix struct {
	door.ByID
	Fix  string         `path:"fix" enum:"change_port,raise_memory,raise_cpu,restart,restart_with_backoff,start_dependency,set_variable,roll_back,free_disk,renew_credentials,scale_out,dead_letter_message,correct_command,raise_limit,wait,stop_holder"`
	Body *FixParameters `required:"false"`
}

func (f ByFix) parameters() map[string]any {
	if f.Body == nil {
		return nil
	}
	return f.Body.Parameters
}

type previewAnswer struct{ Body recovery.Preview }

func (a *area) previewFix(ctx context.Context, in *ByFix) (*previewAnswer, error) {
	out, err := a.cfg.Errors.Preview(ctx, in.ID, cause.Fix(in.Fix), in.parameters())
	if err != nil {
		return nil, err
	}
	return &previewAnswer{Body: out}, nil
}

type applyInput struct {
	ByFix
	door.Waitable
}

func (a *area) applyFix(ctx context.Context, in *applyInput) (*door.Accepted, error) {
	op, err := a.cfg.Errors.Fix(ctx, in.ID, cause.Fix(in.Fix), in.parameters())
	if err != nil {
		return nil, err
	}
	return door.Begun(op), nil
}

func (a *area) dismissError(ctx context.Context, in *struct {
	door.ByID
	Body struct {
		Reason string `json:"reason" minLength:"1" maxLength:"500" doc:"For the record"`
	}
}) (*errorAnswer, error) {
	out, err := a.cfg.Errors.Dismiss(ctx, in.ID, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	return &errorAnswer{Body: out}, nil
}

type policiesAnswer struct{ Body recovery.Policies }

func (a *area) getPolicies(ctx context.Context, _ *struct{}) (*policiesAnswer, error) {
	p, err := a.cfg.Errors.Policies(ctx)
	return &policiesAnswer{Body: p}, err
}

func (a *area) setPolicies(ctx context.Context, in *struct{ Body recovery.Policies }) (*policiesAnswer, error) {
	p, err := a.cfg.Errors.SetPolicies(ctx, in.Body)
	if err != nil {
		return nil, err
	}
	return &policiesAnswer{Body: p}, nil
}
