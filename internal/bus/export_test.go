package bus

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/waooaw/platform-portal/internal/queue"
)

// CountEvents tells how many events of the agent are kept.
func CountEvents(b *Bus, ctx context.Context, id string) (int, error) {
	return count(ctx, b.js, eventsName, queue.Events(id))
}

// JetStream is the portal's own access.
func JetStream(b *Bus) jetstream.JetStream { return b.js }

// StreamOf names the stream of the agent's commands.
func StreamOf(b *Bus, id string) string { return b.layout().stream(id) }
