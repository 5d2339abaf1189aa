package observe

import (
	"context"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/waooaw/platform-portal/internal/alert"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/httpapi/door"
)

// AlertRules are what is looked for.
type AlertRules interface {
	List() ([]alert.RuleView, []alert.FileState)
	RuleByID(id string) (alert.RuleView, error)
	Tune(ctx context.Context, id string, t alert.Tune) (*alert.RuleView, error)
	Preview(ctx context.Context, l alert.Look) (*alert.Preview, error)
	Validate(name string, content []byte) ([]alert.Group, error)
	FileContent(name string) (string, error)
	Upload(ctx context.Context, name, content string) ([]alert.Group, error)
	DeleteUpload(ctx context.Context, name string) error
}

// AlertReceivers are who is told.
type AlertReceivers interface {
	ListReceivers(ctx context.Context) ([]alert.Receiver, error)
	GetReceiver(ctx context.Context, id string) (*alert.Receiver, error)
	SaveReceiver(ctx context.Context, r alert.Receiver) (*alert.Receiver, error)
	DeleteReceiver(ctx context.Context, id string) error
	Test(ctx context.Context, id string) (*alert.Delivery, error)
	ListDeliveries(ctx context.Context, receiverID, cursor string, limit int) ([]alert.Delivery, string, error)
}

var ruleRoutes = []door.Route{
	{Method: "GET", Path: base + "/alerts/rules", Role: auth.Viewer, ID: "list-rules"},
	{Method: "GET", Path: base + "/alerts/rules/{id}", Role: auth.Viewer, ID: "get-rule"},
	{Method: "PUT", Path: base + "/alerts/rules/{id}", Role: auth.Admin, ID: "change-rule"},
	{Method: "POST", Path: base + "/alerts/rules/validate", Role: auth.Viewer, ID: "validate-rules", Reads: true},
	{Method: "POST", Path: base + "/alerts/rules/preview", Role: auth.Viewer, ID: "preview-rule", Reads: true},
	{Method: "GET", Path: base + "/alerts/rules/files/{name}", Role: auth.Viewer, ID: "get-rule-file"},
	{Method: "PUT", Path: base + "/alerts/rules/files/{name}", Role: auth.Admin, ID: "put-rule-file", Large: true},
	{Method: "DELETE", Path: base + "/alerts/rules/files/{name}", Role: auth.Admin, ID: "delete-rule-file"},
	{Method: "GET", Path: base + "/alerts/receivers", Role: auth.Viewer, ID: "list-receivers"},
	{Method: "POST", Path: base + "/alerts/receivers", Role: auth.Admin, ID: "create-receiver"},
	{Method: "GET", Path: base + "/alerts/receivers/{id}", Role: auth.Viewer, ID: "get-receiver"},
	{Method: "PUT", Path: base + "/alerts/receivers/{id}", Role: auth.Admin, ID: "change-receiver"},
	{Method: "DELETE", Path: base + "/alerts/receivers/{id}", Role: auth.Admin, ID: "delete-receiver"},
	{Method: "POST", Path: base + "/alerts/receivers/{id}/test", Role: auth.Admin, ID: "test-receiver"},
	{Method: "GET", Path: base + "/alerts/deliveries", Role: auth.Viewer, ID: "list-alert-deliveries"},
}

func (a *area) registerRules() {
	door.Handle(a.door, "list-rules", "List rules with how their evaluation went, and the files that they come from", a.listRules)
	door.Handle(a.door, "get-rule", "Get a rule", func(_ context.Context, in *door.ByID) (*ruleAnswer, error) {
		v, err := a.cfg.Alerts.RuleByID(in.ID)
		return &ruleAnswer{Body: v}, err
	})
	door.Handle(a.door, "change-rule", "Change the threshold of a rule, how long it waits, or whether it is in force", a.changeRule)
	door.Handle(a.door, "validate-rules", "Say what is wrong with a rule file", a.validateRules)
	door.Handle(a.door, "preview-rule", "Say when a rule would have fired", a.previewRule)
	door.Handle(a.door, "get-rule-file", "Get the text of a rule file", func(_ context.Context, in *ByName) (*fileAnswer, error) {
		text, err := a.cfg.Alerts.FileContent(in.Name)
		return &fileAnswer{Body: RuleFile{Name: in.Name, Content: text}}, err
	})
	door.Handle(a.door, "put-rule-file", "Keep a rule file, in the place of the one that was uploaded under its name", a.putRules)
	door.Handle(a.door, "delete-rule-file", "Remove a rule file that was uploaded", func(ctx context.Context, in *ByName) (*struct{}, error) {
		return nil, a.cfg.Alerts.DeleteUpload(ctx, in.Name)
	})
}

func (a *area) registerReceivers() {
	door.Handle(a.door, "list-receivers", "List who is told about alerts", a.listReceivers)
	door.Handle(a.door, "create-receiver", "Tell somebody about alerts", func(ctx context.Context, in *struct{ Body ReceiverBody }) (*receiverAnswer, error) {
		return received(a.cfg.Alerts.SaveReceiver(ctx, in.Body.receiver("")))
	}, door.Status(http.StatusCreated))
	door.Handle(a.door, "get-receiver", "Get a receiver", func(ctx context.Context, in *door.ByID) (*receiverAnswer, error) {
		return received(a.cfg.Alerts.GetReceiver(ctx, in.ID))
	})
	door.Handle(a.door, "change-receiver", "Change a receiver", func(ctx context.Context, in *struct {
		door.ByID
		Body ReceiverBody
	}) (*receiverAnswer, error) {
		return received(a.cfg.Alerts.SaveReceiver(ctx, in.Body.receiver(in.ID)))
	})
	door.Handle(a.door, "delete-receiver", "Remove a receiver", func(ctx context.Context, in *door.ByID) (*struct{}, error) {
		return nil, a.cfg.Alerts.DeleteReceiver(ctx, in.ID)
	})
	door.Handle(a.door, "test-receiver", "Send a test, and say what came of it", func(ctx context.Context, in *door.ByID) (*deliveryAnswer, error) {
		d, err := a.cfg.Alerts.Test(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		return &deliveryAnswer{Body: *d}, nil
	})
	door.Handle(a.door, "list-alert-deliveries", "List what was told, newest first", a.alertDeliveries)
}

// RuleList are rules and the files that they come from.
type RuleList struct {
	door.List[alert.RuleView]
	Files []alert.FileState `json:"files"`
}

type rulesAnswer struct{ Body RuleList }

func (a *area) listRules(_ context.Context, in *struct {
	door.Paging
	Failing bool `query:"failing" doc:"Only those whose last evaluation failed"`
}) (*rulesAnswer, error) {
	list, files := a.cfg.Alerts.List()
	if in.Failing {
		list = slices.DeleteFunc(list, func(r alert.RuleView) bool { return r.Status.Error == "" })
	}
	first := 0
	if in.Cursor != "" {
		first = slices.IndexFunc(list, func(r alert.RuleView) bool { return r.ID == in.Cursor }) + 1
		if first == 0 {
			return nil, door.Invalid("query.cursor", "does not belong to this list; the rules may have changed")
		}
	}
	list = list[first:]
	next := ""
	if len(list) > in.Limit {
		list = list[:in.Limit]
		next = list[in.Limit-1].ID
	}
	total := len(list)
	out := RuleList{List: door.ListOf(list, next), Files: files}
	if next == "" && in.Cursor == "" {
		out.Total = &total
	}
	return &rulesAnswer{Body: out}, nil
}

type ruleAnswer struct{ Body alert.RuleView }

func (a *area) changeRule(ctx context.Context, in *struct {
	door.ByID
	Body struct {
		Threshold *float64 `json:"threshold,omitempty" doc:"The number that the expression compares with"`
		For       *float64 `json:"for_seconds,omitempty" minimum:"0" maximum:"604800" doc:"How long the condition has to hold"`
		Disabled  *bool    `json:"disabled,omitempty"`
		Reset     bool     `json:"reset,omitempty" doc:"First back to what the file says"`
		Reason    string   `json:"reason,omitempty" maxLength:"1000"`
	}
}) (*ruleAnswer, error) {
	b := in.Body
	t := alert.Tune{Threshold: b.Threshold, Disabled: b.Disabled, Reset: b.Reset, Reason: b.Reason}
	if b.For != nil {
		hold := time.Duration(*b.For * float64(time.Second))
		t.For = &hold
	}
	v, err := a.cfg.Alerts.Tune(ctx, in.ID, t)
	if err != nil {
		return nil, err
	}
	return &ruleAnswer{Body: *v}, nil
}

// RuleGroups is what a rule file holds.
type RuleGroups struct {
	Groups []alert.Group `json:"groups"`
}

type groupsAnswer struct{ Body RuleGroups }

func (a *area) validateRules(_ context.Context, in *struct {
	Body struct {
		Content string `json:"content" maxLength:"1048576" doc:"A rule file as Prometheus reads it"`
	}
}) (*groupsAnswer, error) {
	groups, err := a.cfg.Alerts.Validate("rules.yml", []byte(in.Body.Content))
	return &groupsAnswer{Body: RuleGroups{Groups: groups}}, err
}

// ByName is what routes of one rule file take.
type ByName struct {
	Name string `path:"name" maxLength:"100"`
}

// RuleFile is the text of a rule file.
type RuleFile struct {
	Name    string `json:"name"`
	Content string `json:"content"`
}

type fileAnswer struct{ Body RuleFile }

func (a *area) putRules(ctx context.Context, in *struct {
	ByName
	Body struct {
		Content string `json:"content" maxLength:"1048576" doc:"A rule file as Prometheus reads it"`
	}
}) (*groupsAnswer, error) {
	groups, err := a.cfg.Alerts.Upload(ctx, in.Name, in.Body.Content)
	return &groupsAnswer{Body: RuleGroups{Groups: groups}}, err
}

// PreviewSeries is one series of a preview.
type PreviewSeries struct {
	alert.Tried
	Points [][2]float64 `json:"points" doc:"Seconds since 1970 and the value"`
}

// TriedView is when a rule would have fired.
type TriedView struct {
	alert.Preview
	Step float64         `json:"step_seconds"`
	List []PreviewSeries `json:"list"`
}

type triedAnswer struct{ Body TriedView }

func (a *area) previewRule(ctx context.Context, in *struct {
	Body struct {
		Expression string  `json:"expression" minLength:"1" maxLength:"16384"`
		For        float64 `json:"for_seconds,omitempty" minimum:"0" maximum:"604800"`
		Hours      float64 `json:"hours,omitempty" minimum:"0.02" maximum:"168" doc:"How far back; 1 if absent"`
	}
}) (*triedAnswer, error) {
	p, err := a.cfg.Alerts.Preview(ctx, alert.Look{Expr: in.Body.Expression, For: time.Duration(in.Body.For * float64(time.Second)), Back: time.Duration(in.Body.Hours * float64(time.Hour))})
	if err != nil {
		return nil, err
	}
	out := TriedView{Preview: *p, Step: p.Step.Seconds(), List: []PreviewSeries{}}
	for _, t := range p.List {
		s := PreviewSeries{Tried: t, Points: [][2]float64{}}
		for _, point := range t.Points {
			if !math.IsNaN(point.Value) && !math.IsInf(point.Value, 0) {
				s.Points = append(s.Points, [2]float64{float64(point.At.UnixMilli()) / 1000, point.Value})
			}
		}
		out.List = append(out.List, s)
	}
	return &triedAnswer{Body: out}, nil
}

// ReceiverBody is what a receiver is made of.
type ReceiverBody struct {
	Name      string          `json:"name" minLength:"1" maxLength:"100"`
	Kind      string          `json:"kind" enum:"webhook,email,slack,alertmanager"`
	Disabled  bool            `json:"disabled,omitempty"`
	URL       string          `json:"url,omitempty" maxLength:"2000" doc:"Without credentials, or file:NAME or env:PORTAL_SECRET_NAME of a secret that holds it"`
	Secret    string          `json:"secret,omitempty" maxLength:"200" doc:"file:NAME or env:PORTAL_SECRET_NAME: the key that webhooks are signed with, or the bearer token for an Alertmanager"`
	Mail      *alert.Mail     `json:"email,omitempty"`
	Matchers  []alert.Matcher `json:"matchers,omitempty" maxItems:"20" doc:"Which alerts; all if absent"`
	GroupBy   []string        `json:"group_by,omitempty" maxItems:"10" doc:"alertname and severity if absent"`
	Wait      int             `json:"group_wait_seconds,omitempty" minimum:"0" maximum:"3600" doc:"10 if absent"`
	Every     int             `json:"group_interval_seconds,omitempty" minimum:"0" maximum:"86400" doc:"60 if absent"`
	Repeat    int             `json:"repeat_interval_seconds,omitempty" minimum:"0" maximum:"2678400" doc:"14400 if absent"`
	LeaveEnds bool            `json:"leave_out_resolved,omitempty"`
}

func (b ReceiverBody) receiver(id string) alert.Receiver {
	return alert.Receiver{
		ID: id, Name: b.Name, Kind: alert.Kind(b.Kind), Disabled: b.Disabled, URL: b.URL, Secret: b.Secret, Mail: b.Mail, Matchers: b.Matchers,
		GroupBy: b.GroupBy, Wait: b.Wait, Every: b.Every, Repeat: b.Repeat, LeaveEnds: b.LeaveEnds,
	}
}

type receiverAnswer struct{ Body alert.Receiver }

func received(r *alert.Receiver, err error) (*receiverAnswer, error) {
	if err != nil {
		return nil, err
	}
	return &receiverAnswer{Body: *r}, nil
}

func (a *area) listReceivers(ctx context.Context, in *door.Paging) (*door.ListAnswer[alert.Receiver], error) {
	list, err := a.cfg.Alerts.ListReceivers(ctx)
	if err != nil {
		return nil, err
	}
	first := 0
	if in.Cursor != "" {
		for first < len(list) && list[first].Name <= in.Cursor {
			first++
		}
	}
	list = list[first:]
	next := ""
	if len(list) > in.Limit {
		list = list[:in.Limit]
		next = list[in.Limit-1].Name
	}
	return &door.ListAnswer[alert.Receiver]{Body: door.ListOf(list, next)}, nil
}

type deliveryAnswer struct{ Body alert.Delivery }

func (a *area) alertDeliveries(ctx context.Context, in *struct {
	door.Paging
	Receiver string `query:"receiver" maxLength:"200" doc:"Id of a receiver"`
}) (*door.ListAnswer[alert.Delivery], error) {
	list, next, err := a.cfg.Alerts.ListDeliveries(ctx, in.Receiver, in.Cursor, in.Limit)
	return &door.ListAnswer[alert.Delivery]{Body: door.ListOf(list, next)}, err
}
