package bus

import (
	"context"
	"errors"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/waooaw/platform-portal/internal/queue"
)

// sweep buries the commands that JetStream gave up on without the portal
// hearing of it. A message counts only if two sweeps saw it: between an
// acknowledgement and the deletion there is a moment where it looks the same.
func (u *undertaker) sweep(ctx context.Context) error {
	seen := map[grave]bool{}
	for _, name := range u.layout.commandStreams() {
		stream, err := u.js.Stream(ctx, name)
		if err != nil {
			return err
		}
		info, err := stream.Info(ctx, jetstream.WithSubjectFilter(queue.Commands("*")))
		if err != nil {
			return err
		}
		for subject, n := range info.State.Subjects {
			if err := u.inspect(ctx, stream, subject, n, seen); err != nil {
				return err
			}
		}
	}
	for g := range seen {
		if !u.suspects[g] {
			continue
		}
		if err := u.bury(ctx, g, u.cfg.MaxDeliver); err != nil {
			return err
		}
		delete(seen, g)
	}
	u.suspects = seen
	return nil
}

// inspect adds the messages of one queue that are neither waiting nor in flight.
func (u *undertaker) inspect(ctx context.Context, stream jetstream.Stream, subject string, n uint64, seen map[grave]bool) error {
	id := strings.TrimSuffix(strings.TrimPrefix(subject, "agent."), ".commands")
	c, err := stream.Consumer(ctx, id)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		// A removal that was cut short: nobody can ever read these.
		return stream.Purge(ctx, jetstream.WithPurgeSubject(subject))
	}
	if err != nil {
		return err
	}
	info := c.CachedInfo()
	if n <= info.NumPending+uint64(info.NumAckPending) {
		return nil
	}
	// Up to the floor everything is settled; with nothing in flight, all that
	// was ever delivered is.
	settled := info.AckFloor.Stream
	if info.NumAckPending == 0 {
		settled = max(settled, info.Delivered.Stream)
	}
	for seq := uint64(1); seq <= settled; seq++ {
		msg, err := stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if msg.Sequence > settled {
			return nil
		}
		seq = msg.Sequence
		seen[grave{info.Stream, seq}] = true
	}
	return nil
}
