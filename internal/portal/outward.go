package portal

import (
	"math/rand/v2"

	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/webhook"
	"github.com/waooaw/platform-portal/internal/webhook/post"
)

// outward makes what tells other systems what happened.
func (a *app) outward() {
	s := a.store
	a.webhooks = &webhook.Service{
		Store: s.Webhooks(), Attempts: s.Webhooks(), Log: s.Events(), Tx: s, Audit: a.audit,
		Sender: post.New(a.cfg.Egress, a.build.Version, steady), Secrets: fleet.SecretDir{Dir: a.cfg.SecretsDir}, Key: a.keys.Key,
		Source: a.cfg.PublicURL, Now: now, NewID: newID, Logger: a.log, Random: rand.Float64,
		CheckURL: func(field, text string) error {
			_, err := a.cfg.Egress.CheckURL(field, text)
			return err
		},
	}
}
