package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/waooaw/platform-portal/internal/queue"
)

const retryDead = 5 * time.Second

// undertaker turns commands that were delivered too often into dead letters.
//
// JetStream only stops delivering such a message and says so in an advisory.
// The advisories are kept in a stream, so one that comes while the portal is
// away waits for it. One that was lost all the same is made up for by a sweep.
type undertaker struct {
	cfg    Config
	js     jetstream.JetStream
	layout layout
	log    *slog.Logger

	suspects map[grave]bool // seen in the sweep before
}

// grave is one message in a stream of commands.
type grave struct {
	stream string
	seq    uint64
}

func newUndertaker(cfg Config, js jetstream.JetStream, l layout) *undertaker {
	return &undertaker{cfg: cfg, js: js, layout: l, log: cfg.Log, suspects: map[grave]bool{}}
}

func (u *undertaker) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { u.follow(ctx, adviceName, u.advised) })
	if u.cfg.OnDeadLetter != nil {
		wg.Go(func() { u.follow(ctx, deadName, u.announce) })
	}
	wait := min(u.cfg.Sweep, 2*time.Second) // what happened while the portal was away comes first
	for {
		if err := u.sweep(ctx); err != nil && ctx.Err() == nil {
			u.log.Warn("message bus could not look for dead letters", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
			wait = u.cfg.Sweep
		}
	}
}

// follow gives each message of the stream to handle until ctx ends. A message
// whose handling failed comes again.
func (u *undertaker) follow(ctx context.Context, stream string, handle func(context.Context, jetstream.Msg) error) {
	for ctx.Err() == nil {
		err := u.read(ctx, stream, handle)
		if ctx.Err() != nil {
			return
		}
		u.log.Warn("message bus reader stopped and will start again", "stream", stream, "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func (u *undertaker) read(ctx context.Context, stream string, handle func(context.Context, jetstream.Msg) error) error {
	c, err := u.js.Consumer(ctx, stream, portalReader)
	if err != nil {
		return err
	}
	messages, err := c.Messages(jetstream.PullMaxMessages(32))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		if err := handle(ctx, msg); err != nil {
			u.log.Warn("message bus will try a dead letter again", "stream", stream, "error", err)
			err = msg.NakWithDelay(retryDead)
			if err != nil {
				return err
			}
			continue
		}
		if err := msg.Ack(); err != nil {
			return err
		}
	}
}

// advised works on one advisory of the server.
func (u *undertaker) advised(ctx context.Context, msg jetstream.Msg) error {
	var advice struct {
		Stream     string `json:"stream"`
		Seq        uint64 `json:"stream_seq"`
		Deliveries int    `json:"deliveries"`
	}
	if err := json.Unmarshal(msg.Data(), &advice); err != nil {
		u.log.Warn("message bus got an advisory that it does not understand", "error", err)
		return nil
	}
	return u.bury(ctx, grave{advice.Stream, advice.Seq}, advice.Deliveries)
}

// bury copies a command into the dead letters, then deletes it. It may be done
// twice: the id of the copy makes it one, also if the agent sent it already.
func (u *undertaker) bury(ctx context.Context, g grave, deliveries int) error {
	stream, err := u.js.Stream(ctx, g.stream)
	if err != nil {
		return err
	}
	msg, err := stream.GetMsg(ctx, g.seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil // acknowledged late, removed, or buried before
	}
	if err != nil {
		return err
	}
	dead := &nats.Msg{Subject: "dlq." + msg.Subject, Header: nats.Header{}, Data: msg.Data}
	for name, values := range msg.Header {
		if !strings.HasPrefix(name, "Nats-") {
			dead.Header[name] = values
		}
	}
	dead.Header.Set(queue.HeaderReason, queue.ReasonMaxDeliveries)
	dead.Header.Set(queue.HeaderError, fmt.Sprintf("delivered %d times and never acknowledged", deliveries))
	dead.Header.Set(queue.HeaderDeliveries, strconv.Itoa(deliveries))
	dead.Header.Set(queue.HeaderSequence, strconv.FormatUint(g.seq, 10))
	dead.Header.Set(queue.HeaderTime, msg.Time.UTC().Format(time.RFC3339Nano))
	if _, err := u.js.PublishMsg(ctx, dead, jetstream.WithMsgID(fmt.Sprintf("dead.%s.%d", g.stream, g.seq))); err != nil {
		return fmt.Errorf("copy to the dead letters: %w", err)
	}
	if err := stream.DeleteMsg(ctx, g.seq); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		return fmt.Errorf("delete from the commands: %w", err)
	}
	return nil
}

// announce tells the portal of one dead letter.
func (u *undertaker) announce(ctx context.Context, msg jetstream.Msg) error {
	d, err := deadLetter(msg)
	if err != nil {
		u.log.Warn("message bus got a dead letter that it does not understand", "error", err)
		return nil
	}
	return u.cfg.OnDeadLetter(ctx, d)
}

// deadLetter reads what the headers say. They may come from an agent, so none
// of them need be there or be right.
func deadLetter(msg jetstream.Msg) (queue.DeadLetter, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return queue.DeadLetter{}, err
	}
	id := strings.TrimSuffix(strings.TrimPrefix(msg.Subject(), "dlq.agent."), ".commands")
	h := msg.Headers()
	d := queue.DeadLetter{
		AgentID: id, Sequence: meta.Sequence.Stream, ID: h.Get(queue.HeaderID),
		Reason: h.Get(queue.HeaderReason), Error: h.Get(queue.HeaderError),
		At: meta.Timestamp, Size: len(msg.Data()),
	}
	d.Deliveries, _ = strconv.Atoi(h.Get(queue.HeaderDeliveries))
	d.Original, _ = strconv.ParseUint(h.Get(queue.HeaderSequence), 10, 64)
	d.Published, _ = time.Parse(time.RFC3339Nano, h.Get(queue.HeaderTime))
	return d, nil
}
