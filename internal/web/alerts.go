package web

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"

	"github.com/waooaw/platform-portal/internal/alert"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/web/components"
)

// AlertBook shows alerts and takes what people do about them. See alert.Service.
type AlertBook interface {
	Find(ctx context.Context, q alert.Query) ([]alert.Alert, string, error)
	Get(ctx context.Context, id string) (*alert.Alert, []alert.Change, error)
	Counts(ctx context.Context, agentIDs ...string) ([]alert.Tally, error)
	Acknowledge(ctx context.Context, id, reason string) (*alert.Alert, error)
	Silence(ctx context.Context, s alert.Silence) (*alert.Silence, error)
	EndSilence(ctx context.Context, id string) error
	ListSilences(ctx context.Context, current bool, cursor string, limit int) ([]alert.Silence, string, error)
}

// AlertRules are what is looked for.
type AlertRules interface {
	List() ([]alert.RuleView, []alert.FileState)
	RuleByID(id string) (alert.RuleView, error)
	Tune(ctx context.Context, id string, t alert.Tune) (*alert.RuleView, error)
	Preview(ctx context.Context, l alert.Look) (*alert.Preview, error)
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

// Alerts is all of it.
type Alerts interface {
	AlertBook
	AlertRules
	AlertReceivers
}

const (
	alertsPath    = "/alerts"
	silencesPath  = "/alerts/silences"
	rulesPath     = "/alerts/rules"
	receiversPath = "/alerts/receivers"
)

var alertRoutes = []Route{
	{Method: "GET", Path: alertsPath, Role: auth.Viewer, ID: "alerts", Title: "Alerts", handle: (*Server).alertsPage},
	{Method: "GET", Path: alertsPath + "/count", Role: auth.Viewer, ID: "alert-count", handle: (*Server).firingPart},
	{Method: "GET", Path: alertsPath + "/{id}", Role: auth.Viewer, ID: "alert", Title: "Alert", handle: (*Server).alertPage},
	{Method: "POST", Path: alertsPath + "/{id}/acknowledge", Role: auth.Operator, ID: "page-acknowledge-alert", handle: (*Server).acknowledgeAlert},
	{Method: "GET", Path: silencesPath, Role: auth.Viewer, ID: "silences", Title: "Silences", handle: (*Server).silencesPage},
	{Method: "POST", Path: silencesPath, Role: auth.Operator, ID: "page-create-silence", handle: (*Server).newSilence},
	{Method: "POST", Path: silencesPath + "/{id}/end", Role: auth.Operator, ID: "page-end-silence", handle: (*Server).endSilence},
	{Method: "GET", Path: rulesPath, Role: auth.Viewer, ID: "rules", Title: "Alert rules", handle: (*Server).rulesPage},
	{Method: "POST", Path: rulesPath, Role: auth.Admin, ID: "page-upload-rules", Large: true, handle: (*Server).uploadRules},
	{Method: "POST", Path: rulesPath + "/files/{name}/delete", Role: auth.Admin, ID: "page-delete-rules", handle: (*Server).deleteRules},
	{Method: "GET", Path: rulesPath + "/{id}", Role: auth.Viewer, ID: "rule", Title: "Alert rule", handle: (*Server).rulePage},
	{Method: "POST", Path: rulesPath + "/{id}/change", Role: auth.Admin, ID: "page-change-rule", handle: (*Server).changeRule},
	{Method: "GET", Path: receiversPath, Role: auth.Viewer, ID: "receivers", Title: "Receivers of alerts", handle: (*Server).receiversPage},
	{Method: "POST", Path: receiversPath, Role: auth.Admin, ID: "page-save-receiver", handle: (*Server).saveReceiver},
	{Method: "POST", Path: receiversPath + "/{id}/test", Role: auth.Admin, ID: "page-test-receiver", handle: (*Server).testReceiver},
	{Method: "POST", Path: receiversPath + "/{id}/delete", Role: auth.Admin, ID: "page-delete-receiver", handle: (*Server).deleteReceiver},
}

// alertFrame surrounds every page about alerts.
type alertFrame struct {
	Tabs    []components.Tab
	Done    string
	Problem *fault.Error
	Role    auth.Role
	Key     string // of a form
}

func (f alertFrame) field(path string) string { return setting{Problem: f.Problem}.field(path) }

// showAlerts writes a page about alerts; problem is what is wrong with the form
// that was sent.
func (s *Server) showAlerts(w http.ResponseWriter, r *http.Request, title, path string, problem *fault.Error, body func(alertFrame) templ.Component) error {
	f := alertFrame{Problem: problem, Role: auth.From(r.Context()).Role, Key: newNonce(), Done: alertDone[r.URL.Query().Get("done")]}
	for _, t := range []components.Tab{{Name: "Alerts", Href: alertsPath}, {Name: "Silences", Href: silencesPath}, {Name: "Rules", Href: rulesPath}, {Name: "Receivers", Href: receiversPath}} {
		t.Current = t.Href == path
		f.Tabs = append(f.Tabs, t)
	}
	shell, status := Shell{Title: title, Active: alertsPath}, http.StatusOK
	if title != "Alerts" {
		shell.Crumbs = []Crumb{{Name: "Alerts", Href: alertsPath}}
	}
	if problem != nil {
		status = formStatuses[problem.Kind]
		if s.cfg.Door.Refused != nil {
			s.cfg.Door.Refused(r.Context(), problem)
		}
	}
	return s.showStatus(w, r, status, shell, alertsBody(f, body(f)))
}

// alertDone are what a page says after a form, by the name in its address.
var alertDone = map[string]string{
	"acknowledged": "You have taken on the alert", "silenced": "The silence is in force", "silence-ended": "The silence was ended",
	"rule": "The rule was changed", "rules": "The rule file is in force", "rules-deleted": "The rule file was removed",
	"receiver": "The receiver was saved", "receiver-deleted": "The receiver was removed", "delivered": "The test was delivered",
}

// alertList is what the list of alerts shows.
type alertList struct {
	Alerts  []alert.Alert
	Tally   []alert.Tally
	State   string
	Level   string
	Agent   string
	Older   string
	Address string
}

func (s *Server) alertsPage(w http.ResponseWriter, r *http.Request) error {
	in := r.URL.Query()
	list := alertList{State: in.Get("state"), Level: in.Get("severity"), Agent: s.contextAgent(r), Address: r.URL.RequestURI()}
	q := alert.Query{Limit: perPage, Cursor: in.Get("cursor")}
	switch list.State {
	case "":
		q.Statuses = []alert.Status{alert.Firing, alert.Acknowledged, alert.Silenced, alert.Pending}
	case "all":
	default:
		q.Statuses = []alert.Status{alert.Status(list.State)}
	}
	if list.Level != "" {
		q.Severities = []string{list.Level}
	}
	if list.Agent != "" {
		q.AgentIDs = []string{list.Agent}
	}
	var err error
	var next string
	if list.Alerts, next, err = s.cfg.Alerts.Find(r.Context(), q); err != nil {
		return err
	}
	if list.Tally, err = s.cfg.Alerts.Counts(r.Context(), q.AgentIDs...); err != nil {
		return err
	}
	list.Older = olderHref(r, next)
	if wantsPart(r) {
		return s.fragment(w, r, alertListBody(list))
	}
	return s.showAlerts(w, r, "Alerts", alertsPath, nil, func(alertFrame) templ.Component { return alertListBody(list) })
}

func (s *Server) alertPage(w http.ResponseWriter, r *http.Request) error {
	return s.showAlert(w, r, nil)
}

func (s *Server) showAlert(w http.ResponseWriter, r *http.Request, problem *fault.Error) error {
	a, history, err := s.cfg.Alerts.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	if wantsPart(r) {
		return s.fragment(w, r, alertDetail(alertFrame{Role: auth.From(r.Context()).Role, Key: newNonce()}, a, history))
	}
	return s.showAlerts(w, r, a.Name, alertsPath, problem, func(f alertFrame) templ.Component { return alertDetail(f, a, history) })
}

// afterAlert ends a form: with what is wrong on the page again, or else at the
// address with a word of what was done.
func afterAlert(w http.ResponseWriter, r *http.Request, err error, to, name string, again func(*fault.Error) error) error {
	if err == nil {
		return done(w, r, to, name)
	}
	if f := shownInForm(err); f != nil {
		return again(f)
	}
	return err
}

func (s *Server) acknowledgeAlert(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return badForm(err)
	}
	_, err := s.cfg.Alerts.Acknowledge(r.Context(), r.PathValue("id"), strings.TrimSpace(r.PostForm.Get("reason")))
	return afterAlert(w, r, err, alertsPath+"/"+url.PathEscape(r.PathValue("id")), "acknowledged", func(f *fault.Error) error { return s.showAlert(w, r, f) })
}

// silenceForm is what was written into the form of a new silence.
type silenceForm struct{ Matchers, Hours, Reason string }

func (s *Server) silencesPage(w http.ResponseWriter, r *http.Request) error {
	form := silenceForm{Hours: "2", Matchers: r.URL.Query().Get("matchers")}
	if id := s.contextAgent(r); id != "" && form.Matchers == "" {
		form.Matchers = alert.Matcher{Label: "agent", Value: id}.String()
	}
	return s.showSilences(w, r, nil, form)
}

func (s *Server) showSilences(w http.ResponseWriter, r *http.Request, problem *fault.Error, form silenceForm) error {
	list, next, err := s.cfg.Alerts.ListSilences(r.Context(), false, r.URL.Query().Get("cursor"), perPage)
	if err != nil {
		return err
	}
	older := olderHref(r, next)
	return s.showAlerts(w, r, "Silences", silencesPath, problem, func(f alertFrame) templ.Component { return silencesBody(f, list, older, form, s.cfg.Now()) })
}

func (s *Server) newSilence(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return badForm(err)
	}
	form := silenceForm{Matchers: r.PostForm.Get("matchers"), Hours: r.PostForm.Get("hours"), Reason: r.PostForm.Get("reason")}
	again := func(f *fault.Error) error { return s.showSilences(w, r, f, form) }
	matchers, err := matchersOf("matchers", form.Matchers)
	if err != nil {
		return again(fault.As(err))
	}
	hours, err := strconv.ParseFloat(form.Hours, 64)
	if err != nil || !(hours > 0 && hours < 9000) {
		return again(wrongField("hours", "must be a number of hours"))
	}
	_, err = s.cfg.Alerts.Silence(r.Context(), alert.Silence{Matchers: matchers, EndsAt: s.cfg.Now().Add(time.Duration(hours * float64(time.Hour))), Reason: form.Reason})
	return afterAlert(w, r, err, silencesPath, "silenced", again)
}

func (s *Server) endSilence(w http.ResponseWriter, r *http.Request) error {
	err := s.cfg.Alerts.EndSilence(r.Context(), r.PathValue("id"))
	return afterAlert(w, r, err, silencesPath, "silence-ended", func(f *fault.Error) error { return s.showSilences(w, r, f, silenceForm{Hours: "2"}) })
}

func wrongField(path, message string) *fault.Error {
	return fault.New(fault.Invalid, "form.invalid", "The form can't be used").At(fault.Field{Path: path, Message: message})
}

func matchersOf(path, text string) ([]alert.Matcher, error) {
	list, err := alert.ParseMatchers(text)
	if err != nil {
		return nil, wrongField(path, err.Error())
	}
	return list, nil
}

// ruleForm is what was written into the form of a rule file.
type ruleForm struct{ Name, Content string }

func (s *Server) rulesPage(w http.ResponseWriter, r *http.Request) error {
	form := ruleForm{}
	if name := r.URL.Query().Get("file"); name != "" {
		text, err := s.cfg.Alerts.FileContent(name)
		if err != nil {
			return err
		}
		form = ruleForm{Name: name, Content: text}
	}
	return s.showRules(w, r, nil, form)
}

func (s *Server) showRules(w http.ResponseWriter, r *http.Request, problem *fault.Error, form ruleForm) error {
	list, files := s.cfg.Alerts.List()
	return s.showAlerts(w, r, "Alert rules", rulesPath, problem, func(f alertFrame) templ.Component { return rulesBody(f, pairsOf(list), files, form) })
}

func (s *Server) uploadRules(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return badForm(err)
	}
	form := ruleForm{Name: r.PostForm.Get("name"), Content: strings.ReplaceAll(r.PostForm.Get("content"), "\r\n", "\n")}
	_, err := s.cfg.Alerts.Upload(r.Context(), form.Name, form.Content)
	return afterAlert(w, r, err, rulesPath, "rules", func(f *fault.Error) error { return s.showRules(w, r, f, form) })
}

func (s *Server) deleteRules(w http.ResponseWriter, r *http.Request) error {
	err := s.cfg.Alerts.DeleteUpload(r.Context(), r.PathValue("name"))
	return afterAlert(w, r, err, rulesPath, "rules-deleted", func(f *fault.Error) error { return s.showRules(w, r, f, ruleForm{}) })
}

// tuneForm is what was written into the form of a rule, and what is tried.
type tuneForm struct{ Threshold, For, Hours, Reason string }

// tried gives the rule as the form would make it.
func (f tuneForm) tried(v alert.RuleView) (alert.Tune, error) {
	t := alert.Tune{Reason: strings.TrimSpace(f.Reason)}
	if v.Threshold != nil {
		n, err := strconv.ParseFloat(strings.TrimSpace(f.Threshold), 64)
		if err != nil {
			return t, wrongField("threshold", "must be a number")
		}
		t.Threshold = &n
	}
	if v.Source != "event" && !v.Recording {
		n, err := strconv.ParseFloat(strings.TrimSpace(f.For), 64)
		if err != nil || !(n >= 0 && n <= 604800) {
			return t, wrongField("for_seconds", "must be a number of seconds")
		}
		hold := time.Duration(n * float64(time.Second))
		t.For = &hold
	}
	return t, nil
}

func (s *Server) rulePage(w http.ResponseWriter, r *http.Request) error {
	v, err := s.cfg.Alerts.RuleByID(r.PathValue("id"))
	if err != nil {
		return err
	}
	in, form := r.URL.Query(), tuneFormOf(v)
	for name, to := range map[string]*string{"threshold": &form.Threshold, "for_seconds": &form.For, "hours": &form.Hours} {
		if in.Has(name) {
			*to = in.Get(name)
		}
	}
	return s.showRule(w, r, v, nil, form)
}

func tuneFormOf(v alert.RuleView) tuneForm {
	f := tuneForm{For: strconv.FormatFloat(v.Hold, 'g', -1, 64), Hours: "3"}
	if v.Threshold != nil {
		f.Threshold = strconv.FormatFloat(*v.Threshold, 'g', -1, 64)
	}
	return f
}

// showRule shows a rule with its form, and when it would have fired as the form
// has it.
func (s *Server) showRule(w http.ResponseWriter, r *http.Request, v alert.RuleView, problem *fault.Error, form tuneForm) error {
	var preview *alert.Preview
	var trouble string
	if v.Source != "event" && !v.Recording {
		p, err := s.preview(r.Context(), v, form)
		if f := fault.As(err); f != nil {
			trouble = joined(f.What, f.Why)
			if problem == nil && f.Code == "form.invalid" {
				problem = f
			}
		} else if err != nil {
			return err
		}
		preview = p
	}
	return s.showAlerts(w, r, v.Name, rulesPath, problem, func(f alertFrame) templ.Component { return ruleBody(f, v, form, preview, trouble) })
}

func (s *Server) preview(ctx context.Context, v alert.RuleView, form tuneForm) (*alert.Preview, error) {
	t, err := form.tried(v)
	if err != nil {
		return nil, err
	}
	hours, err := strconv.ParseFloat(form.Hours, 64)
	if err != nil || !(hours >= 0.1 && hours <= 168) {
		return nil, wrongField("hours", "must be 0.1 to 168")
	}
	return s.cfg.Alerts.Preview(ctx, alert.Look{Expr: v.Expr, Threshold: t.Threshold, For: *t.For, Back: time.Duration(hours * float64(time.Hour))})
}

func (s *Server) changeRule(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return badForm(err)
	}
	v, err := s.cfg.Alerts.RuleByID(r.PathValue("id"))
	if err != nil {
		return err
	}
	form := tuneForm{Threshold: r.PostForm.Get("threshold"), For: r.PostForm.Get("for_seconds"), Hours: "3", Reason: r.PostForm.Get("reason")}
	var t alert.Tune
	switch what := r.PostForm.Get("what"); what {
	case "on", "off":
		off := what == "off"
		t = alert.Tune{Disabled: &off, Reason: form.Reason}
	case "reset":
		t = alert.Tune{Reset: true, Reason: form.Reason}
	default:
		t, err = form.tried(v)
	}
	if err == nil {
		_, err = s.cfg.Alerts.Tune(r.Context(), v.ID, t)
	}
	return afterAlert(w, r, err, rulesPath+"/"+v.ID, "rule", func(f *fault.Error) error { return s.showRule(w, r, v, f, form) })
}
