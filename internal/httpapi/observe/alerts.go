package observe

import (
	"context"
	"net/http"
	"time"

	"github.com/waooaw/platform-portal/internal/alert"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/httpapi/door"
)

// Alerts tells what is wrong, and keeps rules and receivers. See alert.Service.
type Alerts interface {
	AlertBook
	AlertRules
	AlertReceivers
}

// AlertBook shows alerts, and takes what people do about them.
type AlertBook interface {
	Find(ctx context.Context, q alert.Query) ([]alert.Alert, string, error)
	Get(ctx context.Context, id string) (*alert.Alert, []alert.Change, error)
	Counts(ctx context.Context, agentIDs ...string) ([]alert.Tally, error)
	Acknowledge(ctx context.Context, id, reason string) (*alert.Alert, error)
	Silence(ctx context.Context, s alert.Silence) (*alert.Silence, error)
	EndSilence(ctx context.Context, id string) error
	GetSilence(ctx context.Context, id string) (*alert.Silence, error)
	ListSilences(ctx context.Context, current bool, cursor string, limit int) ([]alert.Silence, string, error)
}

var alertRoutes = []door.Route{
	{Method: "GET", Path: base + "/alerts", Role: auth.Viewer, ID: "list-alerts"},
	{Method: "GET", Path: base + "/alerts/{id}", Role: auth.Viewer, ID: "get-alert"},
	{Method: "POST", Path: base + "/alerts/{id}/acknowledge", Role: auth.Operator, ID: "acknowledge-alert"},
	{Method: "GET", Path: base + "/alerts/silences", Role: auth.Viewer, ID: "list-silences"},
	{Method: "POST", Path: base + "/alerts/silences", Role: auth.Operator, ID: "create-silence"},
	{Method: "GET", Path: base + "/alerts/silences/{id}", Role: auth.Viewer, ID: "get-silence"},
	{Method: "PUT", Path: base + "/alerts/silences/{id}", Role: auth.Operator, ID: "change-silence"},
	{Method: "DELETE", Path: base + "/alerts/silences/{id}", Role: auth.Operator, ID: "end-silence"},
}

func (a *area) registerAlerts() {
	door.Handle(a.door, "list-alerts", "List alerts, the most urgent first", a.listAlerts)
	door.Handle(a.door, "get-alert", "Get an alert with its history", a.getAlert)
	door.Handle(a.door, "acknowledge-alert", "Take on an alert, so that nobody is told again", a.acknowledge)
	door.Handle(a.door, "list-silences", "List silences, those that end last first", a.listSilences)
	door.Handle(a.door, "create-silence", "Tell nobody of some alerts for a time", a.createSilence, door.Status(http.StatusCreated))
	door.Handle(a.door, "get-silence", "Get a silence", func(ctx context.Context, in *door.ByID) (*silenceAnswer, error) {
		s, err := a.cfg.Alerts.GetSilence(ctx, in.ID)
		return a.silenced(s, err)
	})
	door.Handle(a.door, "change-silence", "Change a silence that has not ended", a.changeSilence)
	door.Handle(a.door, "end-silence", "End a silence now", func(ctx context.Context, in *door.ByID) (*struct{}, error) {
		return nil, a.cfg.Alerts.EndSilence(ctx, in.ID)
	})
	a.registerRules()
	a.registerReceivers()
}

type alertsInput struct {
	door.OfAgents
	door.Paging
	State    []string `query:"state,explode" doc:"firing, acknowledged, silenced, pending, resolved"`
	Severity []string `query:"severity,explode" doc:"e.g. critical, warning"`
	Name     string   `query:"name" maxLength:"200" doc:"Name of the alert, exact"`
	Rule     string   `query:"rule" maxLength:"200" doc:"Id of the rule"`
}

// AlertList are alerts, and how many there are of each kind.
type AlertList struct {
	door.List[alert.Alert]
	Counts []alert.Tally `json:"counts" doc:"Of the agents that were asked for, whatever their state and severity"`
}

type alertsAnswer struct{ Body AlertList }

func (a *area) listAlerts(ctx context.Context, in *alertsInput) (*alertsAnswer, error) {
	ids, err := a.door.AgentIDs(ctx, in.Agent)
	if err != nil {
		return nil, err
	}
	q := alert.Query{AgentIDs: ids, Severities: door.Split(in.Severity), Name: in.Name, RuleID: in.Rule, Limit: in.Limit, Cursor: in.Cursor}
	for _, s := range door.Split(in.State) {
		q.Statuses = append(q.Statuses, alert.Status(s))
	}
	list, next, err := a.cfg.Alerts.Find(ctx, q)
	if err != nil {
		return nil, err
	}
	out := AlertList{List: door.ListOf(list, next)}
	out.Filtered = ids
	if out.Counts, err = a.cfg.Alerts.Counts(ctx, ids...); err != nil {
		return nil, err
	}
	return &alertsAnswer{Body: out}, nil
}

// AlertView is an alert with what happened to it.
type AlertView struct {
	alert.Alert
	History []alert.Change `json:"history" doc:"Oldest first"`
}

type alertAnswer struct{ Body AlertView }

func (a *area) getAlert(ctx context.Context, in *door.ByID) (*alertAnswer, error) {
	one, history, err := a.cfg.Alerts.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &alertAnswer{Body: AlertView{Alert: *one, History: history}}, nil
}

type acknowledgeInput struct {
	door.ByID
	Body struct {
		Reason string `json:"reason" minLength:"1" maxLength:"1000" doc:"What is being done about it"`
	}
}

func (a *area) acknowledge(ctx context.Context, in *acknowledgeInput) (*alertAnswer, error) {
	if _, err := a.cfg.Alerts.Acknowledge(ctx, in.ID, in.Body.Reason); err != nil {
		return nil, err
	}
	return a.getAlert(ctx, &in.ByID)
}

// SilenceView is a silence with how it stands.
type SilenceView struct {
	alert.Silence
	State string `json:"state" enum:"pending,active,expired"`
}

type silenceAnswer struct{ Body SilenceView }

func (a *area) silenced(s *alert.Silence, err error) (*silenceAnswer, error) {
	if err != nil {
		return nil, err
	}
	return &silenceAnswer{Body: SilenceView{Silence: *s, State: s.State(a.now())}}, nil
}

func (a *area) now() time.Time {
	if a.cfg.Now == nil {
		return time.Now()
	}
	return a.cfg.Now()
}

func (a *area) listSilences(ctx context.Context, in *struct {
	door.Paging
	All bool `query:"all" doc:"Also those that have ended"`
}) (*door.ListAnswer[SilenceView], error) {
	list, next, err := a.cfg.Alerts.ListSilences(ctx, !in.All, in.Cursor, in.Limit)
	views := make([]SilenceView, len(list))
	for i, s := range list {
		views[i] = SilenceView{Silence: s, State: s.State(a.now())}
	}
	return &door.ListAnswer[SilenceView]{Body: door.ListOf(views, next)}, err
}

// SilenceBody is what a silence is made of.
type SilenceBody struct {
	Matchers []alert.Matcher `json:"matchers" maxItems:"20" doc:"An alert is silenced if all of them match"`
	StartsAt time.Time       `json:"starts_at,omitempty" doc:"Now if it is absent"`
	EndsAt   time.Time       `json:"ends_at,omitempty" doc:"Either this or seconds"`
	Seconds  int             `json:"seconds,omitempty" minimum:"60" maximum:"31536000" doc:"How long, from starts_at"`
	Reason   string          `json:"reason" minLength:"1" maxLength:"1000"`
}

func (b SilenceBody) silence(id string, now time.Time) (alert.Silence, error) {
	s := alert.Silence{ID: id, Matchers: b.Matchers, StartsAt: b.StartsAt, EndsAt: b.EndsAt, Reason: b.Reason}
	if b.EndsAt.IsZero() == (b.Seconds == 0) {
		return s, fault.New(fault.Invalid, "request.invalid", "The request is not valid").
			At(fault.Field{Path: "ends_at", Message: "give exactly one of ends_at and seconds"})
	}
	if s.StartsAt.IsZero() {
		s.StartsAt = now
	}
	if b.Seconds > 0 {
		s.EndsAt = s.StartsAt.Add(time.Duration(b.Seconds) * time.Second)
	}
	s.StartsAt, s.EndsAt = s.StartsAt.UTC(), s.EndsAt.UTC()
	return s, nil
}

func (a *area) createSilence(ctx context.Context, in *struct{ Body SilenceBody }) (*silenceAnswer, error) {
	s, err := in.Body.silence("", a.now())
	if err != nil {
		return nil, err
	}
	return a.silenced(a.cfg.Alerts.Silence(ctx, s))
}

func (a *area) changeSilence(ctx context.Context, in *struct {
	door.ByID
	Body SilenceBody
}) (*silenceAnswer, error) {
	s, err := in.Body.silence(in.ID, a.now())
	if err != nil {
		return nil, err
	}
	return a.silenced(a.cfg.Alerts.Silence(ctx, s))
}
