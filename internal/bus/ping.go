package bus

import (
	"context"

	"github.com/waooaw/platform-portal/internal/fault"
)

// Ping tells whether messages can be stored. Unavailable if not.
func (b *Bus) Ping(ctx context.Context) error {
	b.mu.RLock()
	js := b.js
	b.mu.RUnlock()
	if js == nil {
		return fault.New(fault.Unavailable, "bus.not_running", "The message bus is not running").Do("Try again in a moment.")
	}
	if _, err := js.AccountInfo(ctx); err != nil {
		return fault.New(fault.Unavailable, "bus.no_answer", "The message bus does not answer").
			Do("Look at the portal's log, and restart the portal if it stays so.").Wrap(err)
	}
	return nil
}
