package bus

import (
	"errors"
	"fmt"
	"net/url"

	"github.com/nats-io/nats.go/jetstream"

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

// refusedOutside explains why the streams can't be made on a server that is not
// the portal's: it did not answer, or it said no.
func (b *Bus) refusedOutside(err error) error {
	var no *jetstream.APIError
	if !errors.As(err, &no) {
		return unavailable(err)
	}
	do := "Give the portal's user the right to manage streams and consumers, and switch JetStream on for its account"
	if no.ErrorCode == noStorage {
		do = fmt.Sprintf("Let JetStream of that server have %d MiB more (max_file_store, or the limit of the account), or free space on its disk", b.cfg.MaxBytes>>20)
	}
	return fault.New(fault.Unavailable, "bus.refused", "the NATS server refused to keep the portal's queues").
		Because("%s", no.Description).Do("%s", do).Wrap(err)
}

// noStorage is the number of the server's answer that its limit of disk space,
// which is three quarters of what was free at its start if nobody set another,
// is used up by what streams may hold. The client library has no name for it.
const noStorage jetstream.ErrorCode = 10047

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
