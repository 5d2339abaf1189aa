package observe

import (
	"context"
	"slices"
	"strconv"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/httpapi/door"
)

func (a *area) registerEvents() {
	door.Handle(a.door, "list-events", "List events", a.listEvents)
}

type eventsInput struct {
	door.OfAgents
	door.Paging
	Type  []string `query:"type,explode" doc:"e.g. agent:state_changed"`
	Room  []string `query:"room,explode" doc:"As in live updates"`
	Order string   `query:"order" enum:"desc,asc" default:"desc" doc:"Newest or oldest first"`
	Since string   `query:"since" maxLength:"20" doc:"Only events after the one with this number"`
}

func (a *area) listEvents(ctx context.Context, in *eventsInput) (*door.ListAnswer[event.Event], error) {
	q := event.Query{Rooms: door.Split(in.Room), Limit: in.Limit, Newest: in.Order == "desc"}
	for _, t := range door.Split(in.Type) {
		q.Types = append(q.Types, event.Type(t))
	}
	var err error
	if q.AgentID, err = a.door.AgentIDs(ctx, in.Agent); err != nil {
		return nil, err
	}
	if q.After, err = sequence("query.since", in.Since); err != nil {
		return nil, err
	}
	place, err := sequence("query.cursor", in.Cursor)
	if err != nil {
		return nil, err
	}
	if q.Newest {
		q.Before = place
	} else {
		q.After = max(q.After, place)
	}
	found, err := a.cfg.Events.Find(ctx, q)
	if err != nil {
		return nil, err
	}
	next := ""
	if n := len(found); n == in.Limit {
		next = strconv.FormatInt(found[n-1].Seq, 10)
	}
	if !auth.From(ctx).Role.Includes(auth.Admin) {
		found = slices.DeleteFunc(found, confidential)
	}
	out := door.ListOf(found, next)
	out.Filtered = q.AgentID
	return &door.ListAnswer[event.Event]{Body: out}, nil
}

// confidential tells whether only the audit room hears of the event; as there,
// it is for administrators.
func confidential(e event.Event) bool {
	return len(e.Rooms) > 0 && !slices.ContainsFunc(e.Rooms, func(r string) bool { return r != event.RoomAudit })
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
