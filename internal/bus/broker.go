package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/queue"
)

const (
	defaultWait = 10 * time.Second // where the caller's context has no deadline
	patience    = 60 * time.Second // for each stream at the start: a busy disk has taken over 5 s to make one
	knownFor    = 5 * time.Second
	maxCommand  = 256 // characters of a command's id
)

// NATS error codes that have no name in the client library.
const (
	codeStoreFailed  = 10077
	codeNoResources  = 10023
	textSubjectLimit = "maximum messages per subject"
	textBytesLimit   = "maximum bytes"
)

// knownQueues remembers for a moment which agents have a queue, and since
// when: the time of birth keeps the ids of a removed queue from suppressing
// commands of the next queue with that name.
type knownQueues struct {
	mu sync.Mutex
	m  map[string]knownQueue
}

type knownQueue struct{ born, until time.Time }

func (k *knownQueues) get(id string) (time.Time, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	q, ok := k.m[id]
	return q.born, ok && time.Now().Before(q.until)
}

func (k *knownQueues) put(id string, born time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.m == nil {
		k.m = map[string]knownQueue{}
	}
	k.m[id] = knownQueue{born: born, until: time.Now().Add(knownFor)}
}

func (k *knownQueues) drop(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.m, id)
}

func (k *knownQueues) clear() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.m = nil
}

// begin checks what all methods need.
func (b *Bus) begin(ctx context.Context, agentID string) (jetstream.JetStream, context.Context, context.CancelFunc, error) {
	if !validID(agentID) {
		return nil, nil, nil, fault.New(fault.Invalid, "queue.agent_id_invalid", "the agent id %q cannot name a queue", agentID).
			Because("letters, digits, _ and - are accepted, 128 at most")
	}
	js, err := b.connected()
	if err != nil {
		return nil, nil, nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, nil, unavailable(err)
	}
	if _, ok := ctx.Deadline(); ok {
		return js, ctx, func() {}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, defaultWait)
	return js, ctx, cancel, nil
}

// Provision makes the agent's consumer, or brings it to the present settings.
func (b *Bus) Provision(ctx context.Context, agentID string) error {
	js, ctx, cancel, err := b.begin(ctx, agentID)
	if err != nil {
		return err
	}
	defer cancel()
	c, err := js.CreateOrUpdateConsumer(ctx, b.layout().stream(agentID), consumer(agentID, b.cfg))
	if err != nil {
		return unavailable(err)
	}
	b.known.put(agentID, c.CachedInfo().Created)
	return nil
}

// Remove deletes the agent's consumer, commands, events and dead letters, and
// cuts its connections.
func (b *Bus) Remove(ctx context.Context, agentID string) error {
	js, ctx, cancel, err := b.begin(ctx, agentID)
	if err != nil {
		return err
	}
	defer cancel()
	b.known.drop(agentID)
	b.Disconnect(agentID)
	commands := b.layout().stream(agentID)
	if err := js.DeleteConsumer(ctx, commands, agentID); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return unavailable(err)
	}
	for _, where := range [][2]string{
		{commands, queue.Commands(agentID)}, {eventsName, queue.Events(agentID)}, {deadName, queue.DeadLetters(agentID)},
	} {
		stream, err := js.Stream(ctx, where[0])
		if err == nil {
			err = stream.Purge(ctx, jetstream.WithPurgeSubject(where[1]))
		}
		if err != nil {
			return unavailable(err)
		}
	}
	return nil
}

// Publish puts a command into the agent's queue; see queue.Broker. TooLarge
// over the configured size.
func (b *Bus) Publish(ctx context.Context, agentID, id string, payload []byte) error {
	js, ctx, cancel, err := b.begin(ctx, agentID)
	if err != nil {
		return err
	}
	defer cancel()
	if err := b.checkCommand(id, payload); err != nil {
		return err
	}
	born, err := b.born(ctx, js, agentID)
	if err != nil {
		return err
	}
	msg := nats.NewMsg(b.layout().ingest(agentID))
	msg.Data = payload
	msg.Header.Set(queue.HeaderID, id)
	_, err = js.PublishMsg(ctx, msg, jetstream.WithMsgID(fmt.Sprintf("%s.%d.%s", agentID, born.UnixNano(), id)))
	return publishFault(agentID, b.cfg, err)
}

func (b *Bus) checkCommand(id string, payload []byte) error {
	if id == "" {
		return fault.New(fault.Invalid, "queue.id_missing", "the command has no id")
	}
	if len(id) > maxCommand || strings.ContainsFunc(id, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return fault.New(fault.Invalid, "queue.id_invalid", "the command's id cannot be used").
			Because("it may have %d bytes at most and no control characters", maxCommand)
	}
	if len(payload) > b.cfg.MaxPayload {
		return fault.New(fault.TooLarge, "queue.payload_too_large", "the command has %d bytes", len(payload)).
			Because("a command may have %d bytes at most", b.cfg.MaxPayload).
			Do("Keep large data in a store and send its address")
	}
	return nil
}

// born tells when the agent's queue was made; NotFound.
func (b *Bus) born(ctx context.Context, js jetstream.JetStream, agentID string) (time.Time, error) {
	if at, ok := b.known.get(agentID); ok {
		return at, nil
	}
	c, err := b.info(ctx, js, agentID)
	if err != nil {
		return time.Time{}, err
	}
	b.known.put(agentID, c.Created)
	return c.Created, nil
}

func (b *Bus) info(ctx context.Context, js jetstream.JetStream, agentID string) (*jetstream.ConsumerInfo, error) {
	c, err := js.Consumer(ctx, b.layout().stream(agentID), agentID)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, fault.New(fault.NotFound, "queue.not_found", "the agent %s has no queue", agentID).
			Do("Provision the agent first")
	}
	if err != nil {
		return nil, unavailable(err)
	}
	return c.CachedInfo(), nil
}

func publishFault(agentID string, cfg Config, err error) error {
	if err == nil {
		return nil
	}
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return unavailable(err)
	}
	full := fault.New(fault.RateLimited, "queue.full", "the queue %s is full", queue.Commands(agentID)).Wrap(err)
	switch {
	case api.ErrorCode == codeStoreFailed && strings.Contains(api.Description, textSubjectLimit):
		return full.Because("it holds %d commands", cfg.QueueLimit).
			Do("Wait until the agent has worked some off, or start it")
	case api.ErrorCode == codeNoResources, api.ErrorCode == codeStoreFailed && strings.Contains(api.Description, textBytesLimit):
		return full.Because("the message bus has used up the disk space that it may take").
			Do("Work off or remove queues, or raise the limit of the message bus")
	}
	return unavailable(err)
}

// Stats of one agent's queue. Commands that were delivered too often are
// neither pending nor in flight for the moment until they are dead letters.
func (b *Bus) Stats(ctx context.Context, agentID string) (queue.Stats, error) {
	js, ctx, cancel, err := b.begin(ctx, agentID)
	if err != nil {
		return queue.Stats{}, err
	}
	defer cancel()
	info, err := b.info(ctx, js, agentID)
	if err != nil {
		return queue.Stats{}, err
	}
	s := queue.Stats{
		Name: queue.Commands(agentID), Pending: int(info.NumPending),
		InFlight: info.NumAckPending, Consumers: info.NumWaiting,
	}
	if s.Dead, err = count(ctx, js, deadName, queue.DeadLetters(agentID)); err != nil {
		return queue.Stats{}, err
	}
	if s.Pending+s.InFlight > 0 {
		s.Oldest, err = oldest(ctx, js, info.Stream, s.Name)
	}
	return s, err
}

func count(ctx context.Context, js jetstream.JetStream, name, subject string) (int, error) {
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return 0, unavailable(err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return 0, unavailable(err)
	}
	return int(info.State.Subjects[subject]), nil
}

func oldest(ctx context.Context, js jetstream.JetStream, name, subject string) (time.Time, error) {
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return time.Time{}, unavailable(err)
	}
	msg, err := stream.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(subject))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, unavailable(err)
	}
	return msg.Time, nil
}
