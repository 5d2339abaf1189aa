package bus

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"regexp"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/waooaw/platform-portal/internal/queue"
)

const (
	shards       = 16 // of the embedded server; fixed, for the files on disk follow it
	eventsName   = "EVENTS"
	deadName     = "DLQ"
	adviceName   = "ADVISORIES"
	portalReader = "portal" // the durable consumer of DLQ and ADVISORIES

	dedupeWindow = 2 * time.Minute
	eventsAge    = 24 * time.Hour
	deadAge      = 30 * 24 * time.Hour
	deadPerAgent = 10_000
	deadWindow   = time.Hour // a portal that died between copying and deleting copies once
)

var idPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// validID tells whether the id is safe as one token of a subject.
func validID(id string) bool { return idPattern.MatchString(id) }

// shardOf names the stream of an agent's commands.
func shardOf(id string, n int) string {
	if n == 1 {
		return "COMMANDS"
	}
	h := fnv.New32a()
	h.Write([]byte(id))
	return fmt.Sprintf("COMMANDS_%02d", int(h.Sum32()%uint32(n)))
}

// layout says which stream holds what.
type layout struct{ shards int }

func (b *Bus) layout() layout {
	if b.cfg.URL != "" {
		return layout{shards: 1} // one stream that other programs can find
	}
	return layout{shards: shards}
}

func (l layout) stream(id string) string { return shardOf(id, l.shards) }

func (l layout) commandStreams() []string {
	if l.shards == 1 {
		return []string{"COMMANDS"}
	}
	var names []string
	for i := range l.shards {
		names = append(names, fmt.Sprintf("COMMANDS_%02d", i))
	}
	return names
}

// ingest is the subject to publish a command to. In the embedded server each
// shard listens on subjects of its own and stores under the contract's name.
func (l layout) ingest(id string) string {
	if l.shards == 1 {
		return queue.Commands(id)
	}
	return l.stream(id) + "." + id
}

// create makes the streams and the portal's consumers. Each write of their
// settings waits for the disk, so one that is as it should be is left alone.
func (l layout) create(ctx context.Context, js jetstream.JetStream, cfg Config) error {
	for _, want := range l.streams(cfg) {
		if err := stream(ctx, js, want); err != nil {
			return fmt.Errorf("stream %s: %w", want.Name, err)
		}
	}
	readers := map[string]jetstream.DeliverPolicy{
		adviceName: jetstream.DeliverAllPolicy,
		deadName:   jetstream.DeliverNewPolicy,
	}
	for stream, from := range readers {
		if err := reader(ctx, js, stream, from); err != nil {
			return fmt.Errorf("consumer of %s: %w", stream, err)
		}
	}
	return nil
}

func stream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	want.Metadata = stamp(want)
	have, err := js.Stream(ctx, want.Name)
	if err == nil && have.CachedInfo().Config.Metadata[stampKey] == want.Metadata[stampKey] {
		return nil
	}
	_, err = js.CreateOrUpdateStream(ctx, want)
	return err
}

func reader(ctx context.Context, js jetstream.JetStream, stream string, from jetstream.DeliverPolicy) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	want := jetstream.ConsumerConfig{
		Durable: portalReader, DeliverPolicy: from, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: 30 * time.Second, MaxDeliver: -1,
	}
	want.Metadata = stamp(want)
	have, err := js.Consumer(ctx, stream, portalReader)
	if err == nil && have.CachedInfo().Config.Metadata[stampKey] == want.Metadata[stampKey] {
		return nil
	}
	_, err = js.CreateOrUpdateConsumer(ctx, stream, want)
	return err
}

const stampKey = "portal.settings"

// stamp tells one set of settings from another.
func stamp(settings any) map[string]string {
	data, err := json.Marshal(settings)
	if err != nil {
		panic("bus: settings do not encode: " + err.Error())
	}
	return map[string]string{stampKey: fmt.Sprintf("%x", sha256.Sum256(data))}
}

func (l layout) streams(cfg Config) []jetstream.StreamConfig {
	var all []jetstream.StreamConfig
	var advice []string
	for _, name := range l.commandStreams() {
		c := jetstream.StreamConfig{
			Name: name, Description: "commands for agents", Subjects: []string{queue.Commands("*")},
			Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, DiscardNewPerSubject: true,
			MaxMsgsPerSubject: int64(cfg.QueueLimit), MaxBytes: cfg.MaxBytes / 2 / int64(l.shards),
			Duplicates: dedupeWindow, MaxConsumers: -1,
		}
		if l.shards > 1 {
			c.Subjects = []string{name + ".*"}
			c.SubjectTransform = &jetstream.SubjectTransformConfig{
				Source: name + ".*", Destination: "agent.{{wildcard(1)}}.commands",
			}
		}
		all = append(all, c)
		advice = append(advice, "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES."+name+".*")
	}
	return append(all,
		jetstream.StreamConfig{
			Name: eventsName, Description: "what agents announce", Subjects: []string{queue.Events("*")},
			MaxAge: eventsAge, MaxBytes: cfg.MaxBytes / 8, Duplicates: dedupeWindow,
		},
		jetstream.StreamConfig{
			Name: deadName, Description: "commands that could not be done", Subjects: []string{queue.DeadLetters("*")},
			MaxAge: deadAge, MaxMsgsPerSubject: deadPerAgent, MaxBytes: cfg.MaxBytes / 4, Duplicates: deadWindow,
		},
		jetstream.StreamConfig{
			Name: adviceName, Description: "ends of deliveries that the portal has to work on", Subjects: advice,
			Retention: jetstream.WorkQueuePolicy, MaxBytes: cfg.MaxBytes / 16, MaxAge: deadAge,
		})
}

// consumer is the agent's way to its commands. It has no BackOff: that would
// also stretch the delays that agents ask for with a negative acknowledgement.
func consumer(id string, cfg Config) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: id, FilterSubject: queue.Commands(id),
		DeliverPolicy: jetstream.DeliverAllPolicy, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: cfg.AckWait, MaxDeliver: cfg.MaxDeliver,
		MaxAckPending: 256, MaxWaiting: 64,
	}
}
