package portal

import (
	"context"
	"net/url"
	"path/filepath"

	"github.com/waooaw/platform-portal/internal/alert"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/notify"
	"github.com/waooaw/platform-portal/internal/rulefile"
)

// watch makes what looks for trouble and tells people about it.
func (a *app) watch() {
	secrets := fleet.SecretDir{Dir: a.cfg.SecretsDir}
	address, err := url.Parse(a.cfg.PublicURL)
	if err != nil {
		address = nil // templates then show none
	}
	paths := append([]string{filepath.Join(a.cfg.Data, "rules")}, a.cfg.Rules...)
	a.alerts = &alert.Service{
		Stores: a.store.Alerts(), Tx: a.store, Events: a.store.Events(), Audit: a.audit,
		Language: rulefile.Language{Querier: a.series, URL: address}, Folder: rulefile.Folder{Paths: paths},
		Querier: a.series, Appender: a.series, Sender: notify.New(a.cfg.Egress, secrets, now),
		Now: now, NewID: newID, Log: a.log, PublicURL: a.cfg.PublicURL,
	}
}

// forgetAlerts removes alerts, silences and deliveries that have reached their age.
func (r *retention) forgetAlerts(ctx context.Context) (n int, err error) {
	s, before := r.store.Alerts(), r.now().Add(-r.cfg.KeepAlerts)
	for _, prune := range []func() (int, error){
		func() (int, error) { return s.Alerts.PruneAlerts(ctx, before) },
		func() (int, error) { return s.Silences.PruneSilences(ctx, before) },
		func() (int, error) { return s.Queue.PruneDeliveries(ctx, before) },
	} {
		gone, err := prune()
		if n += gone; err != nil {
			return n, err
		}
	}
	return n, nil
}
