package observe

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/waooaw/platform-portal/internal/httpapi/door"
	"github.com/waooaw/platform-portal/internal/webhook"
)

// Webhooks keeps who outside is told what happened. See webhook.Service.
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

func (a *area) registerWebhooks() {
	once := func(op *huma.Operation) {
		op.Description += " The secret is shown this once; an answer that is given again for an Idempotency-Key does not hold it."
	}
	door.Handle(a.door, "list-webhooks", "List webhooks, by name", a.listWebhooks)
	door.Handle(a.door, "create-webhook", "Tell another system what happens from now on, as CloudEvents", a.createWebhook, door.Status(http.StatusCreated), once)
	door.Handle(a.door, "get-webhook", "Show a webhook and how its deliveries go", a.getWebhook)
	door.Handle(a.door, "patch-webhook", "Change a webhook", a.patchWebhook)
	door.Handle(a.door, "delete-webhook", "Remove a webhook and its record of deliveries", a.deleteWebhook, door.Status(http.StatusNoContent))
	door.Handle(a.door, "secret-webhook", "Change the secret; the one before signs as well for a day", a.webhookSecret, once)
	door.Handle(a.door, "resume-webhook", "Let deliveries go on at once", a.resumeWebhook)
	door.Handle(a.door, "test-webhook", "Send a test; the answer says what came of it", a.testWebhook)
	door.Handle(a.door, "list-deliveries", "List the last deliveries of a webhook, newest first", a.listDeliveries)
	door.Handle(a.door, "redeliver", "Send the event of a delivery again; the answer says what came of it", a.redeliver)
}

// WebhookProgress is where the deliveries of a webhook are.
type WebhookProgress webhook.Progress

// WebhookDelivery is one request to a receiver.
type WebhookDelivery webhook.Attempt

// WebhookView is a webhook as it is shown to administrators.
type WebhookView struct {
	ID           string          `json:"id"`
	Name         string          `json:"name"`
	URL          string          `json:"url"`
	Types        []string        `json:"types" doc:"Patterns of types of events; empty means all"`
	Agents       []string        `json:"agents" doc:"Ids of agents; empty means all"`
	Confidential bool            `json:"confidential" doc:"Also what only administrators may see, e.g. sign-ins"`
	SecretRef    string          `json:"secret_ref,omitempty" doc:"Where the signing secret is kept; empty: the portal made it"`
	Enabled      bool            `json:"enabled"`
	State        string          `json:"state" enum:"delivering,retrying,given_up,disabled"`
	Progress     WebhookProgress `json:"progress"`
	CreatedBy    string          `json:"created_by"`
	CreatedAt    time.Time       `json:"created_at"`
	UpdatedAt    time.Time       `json:"updated_at"`
	Version      int             `json:"version" doc:"Grows with each change"`
	// Secret is there in the answer that makes it alone.
	Secret string `json:"secret,omitempty" doc:"Signs the requests, as Standard Webhooks says; it is not shown again"`
}

func webhookView(s webhook.Subscription, secret string) WebhookView {
	return WebhookView{
		ID: s.ID, Name: s.Name, URL: s.URL, Types: append([]string{}, s.Types...), Agents: append([]string{}, s.Agents...),
		Confidential: s.Confidential, SecretRef: s.SecretRef, Enabled: s.Enabled, State: string(s.State()), Progress: WebhookProgress(s.Progress),
		CreatedBy: s.CreatedBy, CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt, Version: s.Version, Secret: secret,
	}
}

type webhookAnswer struct {
	Location string `header:"Location"`
	Body     WebhookView
}

func (a *area) listWebhooks(ctx context.Context, in *door.OfAgents) (*door.ListAnswer[WebhookView], error) {
	ids, err := a.door.AgentIDs(ctx, in.Agent)
	if err != nil {
		return nil, err
	}
	list, err := a.cfg.WebhookReader.Webhooks(ctx)
	if err != nil {
		return nil, err
	}
	views := []WebhookView{}
	for _, s := range list {
		if s.Concerns(ids) {
			views = append(views, webhookView(s, ""))
		}
	}
	out := door.ListOf(views, "")
	out.Filtered = ids
	return &door.ListAnswer[WebhookView]{Body: out}, nil
}

type createWebhookInput struct {
	Body struct {
		Name         string   `json:"name" minLength:"1" maxLength:"60"`
		URL          string   `json:"url" minLength:"1" maxLength:"2000" doc:"Address of the receiver; those of this machine and of private networks are refused unless egress.allow names them"`
		Types        []string `json:"types,omitempty" maxItems:"50" doc:"Types of events, e.g. agent:state_changed or agent:*; none means all"`
		Agents       []string `json:"agents,omitempty" maxItems:"200" doc:"Only what concerns these agents; id or name"`
		Confidential bool     `json:"confidential,omitempty" doc:"Also what only administrators may see, e.g. sign-ins"`
		SecretRef    string   `json:"secret_ref,omitempty" maxLength:"200" doc:"file:NAME or env:PORTAL_SECRET_NAME of a secret to sign with; the portal makes one where it is empty"`
		Enabled      *bool    `json:"enabled,omitempty" doc:"Default true"`
	}
}

func (a *area) createWebhook(ctx context.Context, in *createWebhookInput) (*webhookAnswer, error) {
	b := in.Body
	ids, err := a.door.AgentIDs(ctx, b.Agents)
	if err != nil {
		return nil, err
	}
	sub, secret, err := a.cfg.Webhooks.Create(ctx, webhook.Definition{
		Name: b.Name, URL: b.URL, Types: b.Types, Agents: ids, Confidential: b.Confidential, SecretRef: b.SecretRef, Enabled: b.Enabled == nil || *b.Enabled,
	})
	if err != nil {
		return nil, err
	}
	door.Keep(ctx, webhookView(*sub, "")) // a secret is never stored
	return &webhookAnswer{Location: base + "/webhooks/" + sub.ID, Body: webhookView(*sub, secret)}, nil
}

func (a *area) getWebhook(ctx context.Context, in *door.ByID) (*webhookAnswer, error) {
	sub, err := a.cfg.WebhookReader.Webhook(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &webhookAnswer{Body: webhookView(*sub, "")}, nil
}

type patchWebhookInput struct {
	door.ByID
	Body struct {
		Name         *string   `json:"name,omitempty" maxLength:"60"`
		URL          *string   `json:"url,omitempty" maxLength:"2000"`
		Types        *[]string `json:"types,omitempty" maxItems:"50"`
		Agents       *[]string `json:"agents,omitempty" maxItems:"200"`
		Confidential *bool     `json:"confidential,omitempty"`
		SecretRef    *string   `json:"secret_ref,omitempty" maxLength:"200"`
		Enabled      *bool     `json:"enabled,omitempty"`
		Version      int       `json:"version,omitempty" minimum:"0" doc:"The version that was looked at; another one refuses the change"`
	}
}

func (a *area) patchWebhook(ctx context.Context, in *patchWebhookInput) (*webhookAnswer, error) {
	sub, err := a.cfg.WebhookReader.Webhook(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	b, d := in.Body, sub.Definition()
	take(&d.Name, b.Name)
	take(&d.URL, b.URL)
	take(&d.Types, b.Types)
	take(&d.Confidential, b.Confidential)
	take(&d.SecretRef, b.SecretRef)
	take(&d.Enabled, b.Enabled)
	if b.Agents != nil {
		if d.Agents, err = a.door.AgentIDs(ctx, *b.Agents); err != nil {
			return nil, err
		}
	}
	version := b.Version
	if version == 0 {
		version = sub.Version // what is not named stays as it was looked at here
	}
	if sub, err = a.cfg.Webhooks.Update(ctx, sub.ID, d, version); err != nil {
		return nil, err
	}
	return &webhookAnswer{Body: webhookView(*sub, "")}, nil
}

func take[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

func (a *area) deleteWebhook(ctx context.Context, in *door.ByID) (*struct{}, error) {
	return nil, a.cfg.Webhooks.Delete(ctx, in.ID)
}

func (a *area) webhookSecret(ctx context.Context, in *door.ByID) (*webhookAnswer, error) {
	sub, secret, err := a.cfg.Webhooks.NewSecret(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	door.Keep(ctx, webhookView(*sub, ""))
	return &webhookAnswer{Body: webhookView(*sub, secret)}, nil
}

type resumeWebhookInput struct {
	door.ByID
	Skip string `query:"skip" enum:"nothing,one,all" default:"nothing" doc:"What is left out: the event that was not taken (one), or all that happened so far"`
}

func (a *area) resumeWebhook(ctx context.Context, in *resumeWebhookInput) (*webhookAnswer, error) {
	sub, err := a.cfg.Webhooks.Resume(ctx, in.ID, webhook.Skip(in.Skip))
	if err != nil {
		return nil, err
	}
	return &webhookAnswer{Body: webhookView(*sub, "")}, nil
}

type attemptAnswer struct{ Body WebhookDelivery }

func (a *area) testWebhook(ctx context.Context, in *door.ByID) (*attemptAnswer, error) {
	made, err := a.cfg.Webhooks.Test(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &attemptAnswer{Body: WebhookDelivery(*made)}, nil
}

type deliveriesInput struct {
	door.ByID
	door.Paging
}

func (a *area) listDeliveries(ctx context.Context, in *deliveriesInput) (*door.ListAnswer[WebhookDelivery], error) {
	sub, err := a.cfg.WebhookReader.Webhook(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	list, next, err := a.cfg.WebhookReader.Attempts(ctx, sub.ID, in.Cursor, in.Limit)
	views := make([]WebhookDelivery, len(list))
	for i, one := range list {
		views[i] = WebhookDelivery(one)
	}
	return &door.ListAnswer[WebhookDelivery]{Body: door.ListOf(views, next)}, err
}

type redeliverInput struct {
	door.ByID
	Delivery string `path:"delivery" maxLength:"100"`
}

func (a *area) redeliver(ctx context.Context, in *redeliverInput) (*attemptAnswer, error) {
	made, err := a.cfg.Webhooks.Redeliver(ctx, in.ID, in.Delivery)
	if err != nil {
		return nil, err
	}
	return &attemptAnswer{Body: WebhookDelivery(*made)}, nil
}
