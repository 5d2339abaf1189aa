package httpapi

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/operation"
	"github.com/waooaw/platform-portal/internal/queue"
)

func (s *server) registerActions() {
	for _, action := range agent.Actions() {
		rule, _ := agent.RuleOf(action)
		handle(s, string(action)+"-agent", "Bring an agent to "+string(rule.To)+": "+string(action), s.act(action), status(http.StatusAccepted))
	}
	handle(s, "agent-impact", "What an action would touch", s.impact)
	handle(s, "send-task", "Put a task into the agent's queue", s.sendTask, status(http.StatusAccepted))
}

// Waitable is what routes take that start an operation.
type Waitable struct {
	Wait string `query:"wait" doc:"Answer when the operation is done (then 200), at most after this time, e.g. 30s; at most 5m"`
}

// reason is the body of actions; it may be left out.
type reason struct {
	Reason string `json:"reason,omitempty" maxLength:"500" doc:"For the record"`
}

type actInput struct {
	ByID
	Matching
	Waitable
	Body *reason `required:"false"`
}

// operationAnswer is the body of what starts or steers an operation.
type operationAnswer struct {
	Operation *operation.Operation `json:"operation"`
}

// accepted202 answers that an operation is on its way.
type accepted202 struct {
	Location string `header:"Location" doc:"Where the operation is"`
	Body     operationAnswer
}

func begun(op *operation.Operation) *accepted202 {
	return &accepted202{Location: base + "/operations/" + op.ID, Body: operationAnswer{Operation: op}}
}

func (s *server) act(action agent.Action) func(context.Context, *actInput) (*accepted202, error) {
	return func(ctx context.Context, in *actInput) (*accepted202, error) {
		version, err := in.version()
		if err != nil {
			return nil, err
		}
		opt := fleet.ActOptions{IfMatch: version}
		if in.Body != nil {
			opt.Reason = in.Body.Reason
		}
		op, err := s.cfg.Fleet.Act(ctx, in.ID, action, opt)
		if err != nil {
			return nil, err
		}
		return begun(op), nil
	}
}

type impactInput struct {
	ByID
	Action string `query:"action" required:"true" enum:"provision,deploy,start,stop,suspend,resume,restart,revoke"`
}

type impactAnswer struct{ Body fleet.Impact }

func (s *server) impact(ctx context.Context, in *impactInput) (*impactAnswer, error) {
	out, err := s.cfg.Fleet.Impact(ctx, in.ID, agent.Action(in.Action))
	if err != nil {
		return nil, err
	}
	return &impactAnswer{Body: out}, nil
}

type taskInput struct {
	ByID
	Body struct {
		ID      string          `json:"id,omitempty" maxLength:"100" pattern:"^[A-Za-z0-9._:-]+$" doc:"Makes the task happen once within two minutes; made up where left out"`
		Payload json.RawMessage `json:"payload" doc:"What the agent is to do; any JSON"`
	}
}

type taskAnswer struct {
	Body struct {
		ID      string `json:"id"`
		AgentID string `json:"agent_id"`
		Queue   string `json:"queue"`
	}
}

// sendTask puts a command into the queue. The agent gets the payload as it is;
// the id travels beside it.
func (s *server) sendTask(ctx context.Context, in *taskInput) (*taskAnswer, error) {
	a, err := s.cfg.AgentStore.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	id, message := in.Body.ID, in.Body.Payload
	if id == "" {
		id = s.newID()
	}
	// Record and task go together: what can't be sent is not on record as sent.
	err = s.cfg.Tx.Do(ctx, func(ctx context.Context) error {
		after := map[string]any{"task": id, "bytes": len(message)}
		if err := s.cfg.Recorder.Record(ctx, "agent.task", "agent/"+a.ID, audit.Done, "", nil, after); err != nil {
			return err
		}
		return s.cfg.Queues.Publish(ctx, a.ID, id, message)
	})
	if err != nil {
		return nil, err
	}
	out := &taskAnswer{}
	out.Body.ID, out.Body.AgentID, out.Body.Queue = id, a.ID, queue.Commands(a.ID)
	return out, nil
}
