package bus

import (
	"net/url"

	"github.com/waooaw/platform-portal/internal/fault"
)

// dialExternal connects to the NATS of the configuration with the credentials
// in its URL. What agents get is the URL without them.
func (b *Bus) dialExternal() error {
	u, err := url.Parse(b.cfg.URL)
	if err != nil || u.Host == "" {
		return fault.New(fault.Invalid, "bus.url", "the URL of the NATS server is not valid").
			Do("Write it as nats://user:password@host:4222")
	}
	if err := b.dial(b.cfg.URL); err != nil {
		return err
	}
	u.User = nil
	b.url = u.String()
	if !b.nc.HeadersSupported() || b.nc.ConnectedServerVersion() == "" {
		return fault.New(fault.Unavailable, "bus.server_too_old", "the NATS server is too old").
			Do("Use version 2.11 or later with JetStream switched on")
	}
	for _, warning := range b.Report() {
		b.cfg.Log.Warn("message bus: " + warning)
	}
	return nil
}

// Report says what an operator has to see to, because the portal cannot.
func (b *Bus) Report() []string {
	if b.cfg.URL == "" {
		return nil
	}
	return []string{
		"the NATS server is external: give each agent a user with its id as the name, and permissions for its own subjects only",
		"the NATS server is external: set sync_interval to always on it, or published commands can be lost in a power failure",
	}
}
