package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/waooaw/platform-portal/internal/queue"
)

// Working gives the oldest command of the agent that was delivered and not
// acknowledged; nil if there is none. Its deliveries are at least as many as told:
// the server says only whether there were several.
func (b *Bus) Working(ctx context.Context, agentID string) (*queue.Message, error) {
	js, ctx, cancel, err := b.begin(ctx, agentID)
	if err != nil {
		return nil, err
	}
	defer cancel()
	info, err := b.info(ctx, js, agentID)
	if err != nil {
		return nil, err
	}
	if info.NumAckPending == 0 {
		return nil, nil
	}
	stream, err := js.Stream(ctx, info.Stream)
	if err != nil {
		return nil, unavailable(err)
	}
	msg, err := stream.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(queue.Commands(agentID)))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, unavailable(err)
	}
	m := &queue.Message{Sequence: msg.Sequence, ID: msg.Header.Get(queue.HeaderID), Deliveries: 1, Published: msg.Time, Size: len(msg.Data)}
	if info.NumRedelivered > 0 {
		m.Deliveries = 2
	}
	return m, nil
}

// Bury makes a command of the agent a dead letter, with the reason; no error if it
// is gone.
func (b *Bus) Bury(ctx context.Context, agentID string, sequence uint64, why string) error {
	js, ctx, cancel, err := b.begin(ctx, agentID)
	if err != nil {
		return err
	}
	defer cancel()
	name := b.layout().stream(agentID)
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return unavailable(err)
	}
	msg, err := stream.GetMsg(ctx, sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil
	}
	if err != nil {
		return unavailable(err)
	}
	if msg.Subject != queue.Commands(agentID) {
		return nil // it is somebody else's: the number was of another life of the queue
	}
	dead := &nats.Msg{Subject: queue.DeadLetters(agentID), Header: nats.Header{}, Data: msg.Data}
	for header, values := range msg.Header {
		if !strings.HasPrefix(header, "Nats-") {
			dead.Header[header] = values
		}
	}
	dead.Header.Set(queue.HeaderReason, queue.ReasonSetAside)
	dead.Header.Set(queue.HeaderError, why)
	dead.Header.Set(queue.HeaderSequence, strconv.FormatUint(sequence, 10))
	dead.Header.Set(queue.HeaderTime, msg.Time.UTC().Format(time.RFC3339Nano))
	if _, err := js.PublishMsg(ctx, dead, jetstream.WithMsgID(fmt.Sprintf("dead.%s.%d", name, sequence))); err != nil {
		return unavailable(err)
	}
	if err := stream.DeleteMsg(ctx, sequence); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return unavailable(err)
	}
	return nil
}
