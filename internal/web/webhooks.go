package web

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/a-h/templ"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/web/components"
	"github.com/waooaw/platform-portal/internal/web/view"
	"github.com/waooaw/platform-portal/internal/webhook"
)

const webhooksPath = settingsPath + "/webhooks"

// webhookRoutes are about who outside is told what happens.
var webhookRoutes = []Route{
	{Method: "GET", Path: webhooksPath, Role: auth.Admin, ID: "webhooks-page", Title: "Webhooks", handle: (*Server).webhooksPage},
	{Method: "POST", Path: webhooksPath, Role: auth.Admin, ID: "new-webhook", Secret: true, handle: (*Server).newWebhook},
	{Method: "GET", Path: webhooksPath + "/{id}", Role: auth.Admin, ID: "webhook-page", handle: (*Server).webhookPage},
	{Method: "POST", Path: webhooksPath + "/{id}", Role: auth.Admin, ID: "change-webhook", handle: (*Server).changeWebhook},
	{Method: "POST", Path: webhooksPath + "/{id}/secret", Role: auth.Admin, ID: "webhook-secret", Secret: true, handle: (*Server).webhookSecret},
	{Method: "POST", Path: webhooksPath + "/{id}/resume", Role: auth.Admin, ID: "resume-deliveries", handle: (*Server).resumeWebhook},
	{Method: "POST", Path: webhooksPath + "/{id}/test", Role: auth.Admin, ID: "try-webhook", Outward: true, handle: (*Server).testWebhook},
	{Method: "POST", Path: webhooksPath + "/{id}/deliveries/{delivery}", Role: auth.Admin, ID: "deliver-again", Outward: true, handle: (*Server).redeliver},
	{Method: "POST", Path: webhooksPath + "/{id}/delete", Role: auth.Admin, ID: "remove-webhook", handle: (*Server).removeWebhook},
}

// Webhooks keeps who outside is told what happens. See webhook.Service.
type Webhooks interface {
	Create(ctx context.Context, d webhook.Definition) (*webhook.Subscription, string, error)
	Update(ctx context.Context, ref string, d webhook.Definition, version int) (*webhook.Subscription, error)
	NewSecret(ctx context.Context, ref string) (*webhook.Subscription, string, error)
	Delete(ctx context.Context, ref string) error
	Resume(ctx context.Context, ref string, skip webhook.Skip) (*webhook.Subscription, error)
	Test(ctx context.Context, ref string) (*webhook.Attempt, error)
	Redeliver(ctx context.Context, ref, attempt string) (*webhook.Attempt, error)
}

// WebhookReader reads them. See webhook.Store and webhook.Attempts.
type WebhookReader interface {
	Webhook(ctx context.Context, ref string) (*webhook.Subscription, error)
	Webhooks(ctx context.Context) ([]webhook.Subscription, error)
	Attempts(ctx context.Context, webhookID, cursor string, limit int) ([]webhook.Attempt, string, error)
}

// webhooksView is the list of webhooks, and the form for a new one.
type webhooksView struct {
	List   []webhook.Subscription
	Form   webhook.Definition
	Secret string // of the one that was just made
	Made   string // its name
}

// webhookView is one webhook.
type webhookView struct {
	*webhook.Subscription
	Form     webhook.Definition
	Attempts []webhook.Attempt
	Next     string
	Secret   string // that was just made
}

func (v webhookView) path() string { return webhookPath(v.ID) }

func webhookPath(id string) string { return webhooksPath + "/" + url.PathEscape(id) }

// webhookCell is the cell of how deliveries go.
func webhookCell(s webhook.Subscription) view.Cell {
	state := s.State()
	return view.Cell{Text: view.Words(string(state)), Status: map[webhook.State]string{
		webhook.Delivering: "healthy", webhook.Retrying: "warning", webhook.GivenUp: "failed", webhook.Disabled: "stopped",
	}[state]}
}

func attemptCell(a webhook.Attempt) view.Cell {
	if a.OK {
		return view.Cell{Text: "Taken", Status: "done"}
	}
	return view.Cell{Text: "Not taken", Status: "failed"}
}

// list of patterns as one text, and back.
func listOfText(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\r' || r == '\t' })
}

func (s *Server) webhooksPage(w http.ResponseWriter, r *http.Request) error {
	return s.showWebhooks(w, r, nil, webhooksView{})
}

func (s *Server) showWebhooks(w http.ResponseWriter, r *http.Request, problem *fault.Error, v webhooksView) error {
	var err error
	if v.List, err = s.cfg.Settings.WebhookReader.Webhooks(r.Context()); err != nil {
		return err
	}
	return s.showSetting(w, unpacked(r, v.Secret), "Webhooks", webhooksPath, problem, func(in setting) templ.Component { return webhooksBody(in, v) })
}

// unpacked makes the answer to a request go out as it is if it holds a secret:
// packed together with other text its length would say something about it.
func unpacked(r *http.Request, secret string) *http.Request {
	if secret != "" {
		r = r.Clone(r.Context())
		r.Header.Del("Accept-Encoding")
	}
	return r
}

// webhookForm reads the form of a webhook.
func (s *Server) webhookForm(r *http.Request) (webhook.Definition, error) {
	if err := r.ParseForm(); err != nil {
		return webhook.Definition{}, badForm(err)
	}
	f := r.PostForm
	ids, err := s.agentIDs(r.Context(), listOfText(f.Get("agents")))
	return webhook.Definition{
		Name: f.Get("name"), URL: f.Get("url"), Types: listOfText(f.Get("types")), Agents: ids,
		Confidential: f.Get("confidential") == "true", SecretRef: f.Get("secret_ref"), Enabled: f.Get("enabled") != "false",
	}, err
}

// newWebhook makes a webhook and shows its secret, this once.
func (s *Server) newWebhook(w http.ResponseWriter, r *http.Request) error {
	form, err := s.webhookForm(r)
	if err != nil {
		return err
	}
	sub, secret, err := s.cfg.Settings.Webhooks.Create(r.Context(), form)
	if f := shownInForm(err); f != nil {
		return s.showWebhooks(w, r, f, webhooksView{Form: form})
	}
	if err != nil {
		return err
	}
	return s.showWebhooks(w, r, nil, webhooksView{Secret: secret, Made: sub.Name})
}

func (s *Server) webhookPage(w http.ResponseWriter, r *http.Request) error {
	return s.showWebhook(w, r, nil, webhookView{})
}

func (s *Server) showWebhook(w http.ResponseWriter, r *http.Request, problem *fault.Error, v webhookView) error {
	ctx := r.Context()
	sub, err := s.cfg.Settings.WebhookReader.Webhook(ctx, r.PathValue("id"))
	if err != nil {
		return err
	}
	if v.Subscription = sub; problem == nil {
		v.Form = sub.Definition()
	}
	var next string
	if v.Attempts, next, err = s.cfg.Settings.WebhookReader.Attempts(ctx, sub.ID, r.URL.Query().Get("cursor"), perPage); err != nil {
		return err
	}
	if next != "" {
		v.Next = v.path() + "?cursor=" + url.QueryEscape(next)
	}
	return s.showSetting(w, unpacked(r, v.Secret), sub.Name, webhooksPath, problem, func(in setting) templ.Component { return webhookBody(in, v) })
}

func (s *Server) changeWebhook(w http.ResponseWriter, r *http.Request) error {
	form, err := s.webhookForm(r)
	if err != nil {
		return err
	}
	return s.afterWebhook(w, r, form, "webhook", func() error {
		_, err := s.cfg.Settings.Webhooks.Update(r.Context(), r.PathValue("id"), form, 0)
		return err
	})
}

// afterWebhook does something with a webhook and says what came of it.
func (s *Server) afterWebhook(w http.ResponseWriter, r *http.Request, form webhook.Definition, name string, do func() error) error {
	err := do()
	if f := shownInForm(err); f != nil {
		return s.showWebhook(w, r, f, webhookView{Form: form})
	}
	if err != nil {
		return err
	}
	return done(w, r, webhookPath(r.PathValue("id")), name)
}

func (s *Server) webhookSecret(w http.ResponseWriter, r *http.Request) error {
	_, secret, err := s.cfg.Settings.Webhooks.NewSecret(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return s.showWebhook(w, r, nil, webhookView{Secret: secret})
}

func (s *Server) resumeWebhook(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return badForm(err)
	}
	skip := webhook.Skip(r.PostForm.Get("skip"))
	switch skip {
	case webhook.SkipNothing, webhook.SkipOne, webhook.SkipAll:
	default:
		return invalidQuery("skip", "must be nothing, one or all")
	}
	if _, err := s.cfg.Settings.Webhooks.Resume(r.Context(), r.PathValue("id"), skip); err != nil {
		return err
	}
	return done(w, r, webhookPath(r.PathValue("id")), "webhook-resumed")
}

func (s *Server) testWebhook(w http.ResponseWriter, r *http.Request) error {
	a, err := s.cfg.Settings.Webhooks.Test(r.Context(), r.PathValue("id"))
	return s.sent(w, r, a, err)
}

func (s *Server) redeliver(w http.ResponseWriter, r *http.Request) error {
	a, err := s.cfg.Settings.Webhooks.Redeliver(r.Context(), r.PathValue("id"), r.PathValue("delivery"))
	return s.sent(w, r, a, err)
}

// sent leads back to the list of deliveries, where what came of it stands.
func (s *Server) sent(w http.ResponseWriter, r *http.Request, a *webhook.Attempt, err error) error {
	if err != nil {
		return err
	}
	if !a.OK {
		return done(w, r, webhookPath(r.PathValue("id")), "webhook-not-taken")
	}
	return done(w, r, webhookPath(r.PathValue("id")), "webhook-taken")
}

func (s *Server) removeWebhook(w http.ResponseWriter, r *http.Request) error {
	if err := s.cfg.Settings.Webhooks.Delete(r.Context(), r.PathValue("id")); err != nil {
		return err
	}
	return done(w, r, webhooksPath, "webhook-deleted")
}

var yesNo = []components.Option{{Value: "false", Label: "No"}, {Value: "true", Label: "Yes"}}

func yes(b bool) string {
	if b {
		return "true"
	}
	return "false"
}
