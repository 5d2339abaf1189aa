package portal

import (
	"context"
	"math"
	"net/url"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

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
	a.gauges()
}

// gauges measure what the shipped rules about the portal itself look at: the room
// on its disk, and how long a write of the store takes.
func (a *app) gauges() {
	disk := func(of func(unix.Statfs_t) uint64) func() float64 {
		return func() float64 {
			var st unix.Statfs_t
			if err := unix.Statfs(a.cfg.Data, &st); err != nil {
				return math.NaN()
			}
			return float64(of(st)) * float64(st.Bsize)
		}
	}
	for _, g := range []struct {
		name, help string
		value      func() float64
	}{
		{"portal_disk_free_bytes", "Room for the portal on the disk of its data directory.", disk(func(st unix.Statfs_t) uint64 { return st.Bavail })},
		{"portal_disk_size_bytes", "Size of the disk of the data directory.", disk(func(st unix.Statfs_t) uint64 { return st.Blocks })},
		{"portal_store_write_seconds", "Time that the last small write of the store took, made every 10 seconds.", func() float64 { return a.alerts.StoreLatency().Seconds() }},
	} {
		a.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: g.name, Help: g.help}, g.value))
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
