package observe

import (
	"context"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/httpapi/door"
	"github.com/waooaw/platform-portal/internal/queue"
)

func (a *area) registerQueues() {
	door.Handle(a.door, "list-queues", "List the command queues of agents", a.listQueues)
	door.Handle(a.door, "get-queue", "Get the command queue of an agent", a.getQueue)
}

// QueueView is the command queue of an agent.
type QueueView struct {
	AgentID string `json:"agent_id"`
	queue.Stats
}

type listQueuesInput struct {
	door.OfAgents
	door.Paging
}

func (a *area) listQueues(ctx context.Context, in *listQueuesInput) (*door.ListAnswer[QueueView], error) {
	ids, err := a.door.AgentIDs(ctx, in.Agent)
	if err != nil {
		return nil, err
	}
	page, err := a.cfg.Agents.Find(ctx, agent.Query{IDs: ids, Limit: in.Limit, Cursor: in.Cursor,
		// The others have no queue.
		States: []agent.State{agent.Provisioned, agent.Deployed, agent.Running, agent.Stopped, agent.Suspended, agent.Errored}})
	if err != nil {
		return nil, err
	}
	views := []QueueView{}
	for _, one := range page.Agents {
		stats, err := a.cfg.Queues.Stats(ctx, one.ID)
		if fault.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		views = append(views, QueueView{AgentID: one.ID, Stats: stats})
	}
	out := door.ListOf(views, page.Next)
	out.Filtered = ids
	return &door.ListAnswer[QueueView]{Body: out}, nil
}

type queueAnswer struct{ Body QueueView }

func (a *area) getQueue(ctx context.Context, in *struct {
	Agent string `path:"agent" maxLength:"200" doc:"Id or name of the agent"`
}) (*queueAnswer, error) {
	id, err := a.door.IDOf(ctx, in.Agent)
	if err != nil {
		return nil, err
	}
	stats, err := a.cfg.Queues.Stats(ctx, id)
	if err != nil {
		return nil, err
	}
	return &queueAnswer{Body: QueueView{AgentID: id, Stats: stats}}, nil
}
