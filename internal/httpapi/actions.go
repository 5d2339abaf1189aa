package httpapi

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/audit"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/httpapi/door"
	"github.com/waooaw/platform-portal/internal/queue"
)

func (s *server) registerActions() {
	for _, action := range agent.Actions() {
		rule, _ := agent.RuleOf(action)
		door.Handle(s.Door, string(action)+"-agent", "Bring an agent to "+string(rule.To)+": "+string(action), s.act(action), door.Status(http.StatusAccepted))
	}
	door.Handle(s.Door, "agent-impact", "What an action would touch", s.impact)
	door.Handle(s.Door, "send-task", "Put a task into the agent's queue", s.sendTask, door.Status(http.StatusAccepted))
}

// reason is the body of actions; it may be left out.
type reason struct {
	Reason string `json:"reason,omitempty" maxLength:"500" doc:"For the record"`
}

type actInput struct {
	door.ByID
	Matching
	door.Waitable
	Body *reason `required:"false"`
}

func (s *server) act(action agent.Action) func(context.Context, *actInput) (*door.Accepted, error) {
	return func(ctx context.Context, in *actInput) (*door.Accepted, error) {
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
		return door.Begun(op), nil
	}
}

type impactInput struct {
	door.ByID
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
	door.ByID
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
		id = s.cfg.NewID()
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
