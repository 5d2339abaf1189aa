package bus

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/waooaw/platform-portal/internal/fault"
)

// The stream of messages that the portal sends to itself. They are on the disk
// like commands, and are gone after a minute if they were not removed before.
const (
	trialName    = "PORTAL_TRIAL"
	trialSubject = "portal.trial."
	trialAge     = time.Minute
	trialKept    = 16
)

// RoundTrip sends a message to the portal itself on a subject of its own, waits
// until it is stored and delivered, and reads it back. Unavailable if it does
// not come through.
func (b *Bus) RoundTrip(ctx context.Context) (time.Duration, error) {
	js, err := b.connected()
	if err != nil {
		return 0, err
	}
	stream, err := trialStream(ctx, js)
	if err != nil {
		return 0, unavailable(err).Because("the stream of trial messages can't be made")
	}
	text := rand.Text()
	subject := trialSubject + text
	start := time.Now()
	delivered, err := js.Conn().SubscribeSync(subject)
	if err != nil {
		return 0, unavailable(err)
	}
	defer func() { _ = delivered.Unsubscribe() }() // the connection may be gone meanwhile
	ack, err := js.Publish(ctx, subject, []byte(text))
	if err != nil {
		return 0, unavailable(err).Because("the message was not stored")
	}
	msg, err := delivered.NextMsgWithContext(ctx)
	if err != nil {
		return 0, unavailable(err).Because("the message was stored and not delivered")
	}
	kept, err := stream.GetMsg(ctx, ack.Sequence)
	if err != nil {
		return 0, unavailable(err).Because("the message was stored and can't be read back")
	}
	took := time.Since(start)
	if !bytes.Equal(msg.Data, []byte(text)) || !bytes.Equal(kept.Data, []byte(text)) {
		return 0, unavailable(errors.New("another message came back")).Because("what came back is not what was sent")
	}
	_ = stream.DeleteMsg(ctx, ack.Sequence) // else it goes by its age
	return took, nil
}

func trialStream(ctx context.Context, js jetstream.JetStream) (jetstream.Stream, error) {
	stream, err := js.Stream(ctx, trialName)
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return stream, err
	}
	return js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: trialName, Description: "Messages that the portal sends to itself to see whether they arrive", Subjects: []string{trialSubject + "*"},
		Storage: jetstream.FileStorage, MaxMsgs: trialKept, MaxAge: trialAge, MaxBytes: 1 << 20,
	})
}

// SignIn connects as an agent would and leaves again. Unauthenticated if the
// agent is not let in, Unavailable if the server does not answer.
func (b *Bus) SignIn(ctx context.Context, agentID, secret string) error {
	url := b.URL()
	if url == "" {
		return fault.New(fault.Unavailable, "bus.stopped", "the message bus is not running")
	}
	timeout := 5 * time.Second
	if until, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(until))
	}
	nc, err := nats.Connect(url, nats.UserInfo(agentID, secret), nats.Name("portal trial"), nats.Timeout(timeout), nats.NoReconnect())
	switch {
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired):
		return fault.New(fault.Unauthenticated, "bus.refused", "the message bus does not let the agent in").
			Because("its credential is refused").Do("Provision the agent anew, then restart it.").Wrap(err)
	case err != nil:
		return unavailable(err)
	}
	nc.Close()
	return nil
}
