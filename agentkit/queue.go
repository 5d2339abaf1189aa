package agentkit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Names of the agent contract. The portal reads and writes the same.
const (
	commandStream = "COMMANDS"

	headerID         = "Portal-Id"
	headerReason     = "Portal-Reason"
	headerError      = "Portal-Error"
	headerDeliveries = "Portal-Deliveries"
	headerSequence   = "Portal-Sequence"
	headerTime       = "Portal-Time"

	reasonPermanent     = "permanent"
	reasonMaxDeliveries = "max_deliveries"
)

const (
	pullFor       = 30 * time.Second
	settleWait    = 5 * time.Second
	settleRequest = 100 * time.Millisecond
	maxAnnounce   = 256 << 10 // bytes of a result in an event
	maxError      = 1024      // bytes of an error in a header
)

// Event is what an agent announces on agent.{id}.events for each attempt at a
// task from its queue.
type Event struct {
	Type     string          `json:"type"` // task.done, task.failed or task.dead
	AgentID  string          `json:"agent_id"`
	Instance string          `json:"instance,omitempty"`
	TaskID   string          `json:"task_id"`
	TaskType string          `json:"task_type,omitempty"`
	Attempt  int             `json:"attempt"`
	Result   json.RawMessage `json:"result,omitempty"` // left out over 256 KiB
	Error    string          `json:"error,omitempty"`
	At       time.Time       `json:"at"`
}

// consumer takes tasks from the agent's queue.
type consumer struct {
	env    Env
	log    *slog.Logger
	worker *worker
	retry  []time.Duration
	nc     *nats.Conn
	js     jetstream.JetStream

	mu        sync.Mutex
	interrupt context.CancelFunc // ends the wait for a task
}

// terms are the settings of the queue that matter here.
type terms struct {
	maxDeliver int
	ackWait    time.Duration
}

// connect begins to connect and goes on trying for as long as the agent lives.
func connect(env Env, log *slog.Logger, w *worker) (*consumer, error) {
	c := &consumer{env: env, log: log, worker: w, retry: w.agent.Retry, interrupt: func() {}}
	nc, err := nats.Connect(env.queueURL,
		nats.UserInfo(env.queueUser, env.queueToken), nats.Name(env.ID+"/"+env.Instance),
		nats.CustomInboxPrefix("_INBOX_"+env.ID),
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.IgnoreAuthErrorAbort(),
		nats.ReconnectWait(time.Second), nats.ReconnectJitter(500*time.Millisecond, time.Second),
		nats.ConnectHandler(func(*nats.Conn) { log.Info("queue connected") }),
		nats.ReconnectHandler(func(*nats.Conn) { log.Info("queue connected again") }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("queue disconnected; trying again", "error", err)
			}
			c.disconnected()
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { log.Debug("queue cannot be reached", "error", err) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Warn("queue", "error", err) }))
	if err != nil {
		return nil, fmt.Errorf("QUEUE_URL: %w", err)
	}
	if !nc.IsConnected() {
		log.Warn("queue cannot be reached yet; working over HTTP and trying again")
	}
	c.nc = nc
	c.js, err = jetstream.New(nc)
	return c, err
}

// disconnected ends a wait that the server does not know of any more.
func (c *consumer) disconnected() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.interrupt()
}

func (c *consumer) interruptible(cancel context.CancelFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.interrupt = cancel
}

func (c *consumer) state() string {
	if c.nc.IsConnected() {
		return "connected"
	}
	return "disconnected"
}

// run takes tasks until ctx ends.
func (c *consumer) run(ctx context.Context) {
	last := ""
	for ctx.Err() == nil {
		err := c.pull(ctx)
		if ctx.Err() != nil {
			return
		}
		if text := fmt.Sprint(err); text != last && c.nc.IsConnected() {
			c.log.Warn("queue gives no tasks; trying again", "error", err)
			last = text
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// pull asks for one task after the other, never for more than can be begun.
func (c *consumer) pull(ctx context.Context) error {
	lookup, cancel := context.WithTimeout(ctx, settleWait)
	defer cancel()
	cons, err := c.js.Consumer(lookup, commandStream, c.env.ID)
	if err != nil {
		return err
	}
	cfg := cons.CachedInfo().Config
	t := terms{maxDeliver: cfg.MaxDeliver, ackWait: cfg.AckWait}
	for {
		select { // a free slot
		case c.worker.slots <- struct{}{}:
			<-c.worker.slots
		case <-ctx.Done():
			return nil
		}
		if ctx.Err() != nil {
			// Both were ready. Asking again now would only use up the attempts of
			// a task that has to be given back.
			return nil
		}
		if err := c.fetch(ctx, cons, t); err != nil {
			return err
		}
	}
}

// fetch waits for one task and begins it. That none came is no error.
func (c *consumer) fetch(ctx context.Context, cons jetstream.Consumer, t terms) error {
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), pullFor)
	defer cancel()
	c.interruptible(cancel)
	asked := time.Now()
	defer context.AfterFunc(ctx, func() {
		// A request that is withdrawn before the server has looked at it is not
		// withdrawn there, and would swallow the next task until its time is up.
		time.AfterFunc(settleRequest-time.Since(asked), cancel)
	})()
	batch, err := cons.Fetch(1, jetstream.FetchContext(wait))
	if err != nil {
		return err
	}
	for msg := range batch.Messages() {
		c.accept(ctx, msg, t)
	}
	if err := batch.Error(); !errors.Is(err, nats.ErrTimeout) && !errors.Is(err, context.DeadlineExceeded) {
		return err // or nil
	}
	return nil
}

// accept begins a task; it counts as running from here on. One that comes when
// ctx has ended goes to another instance.
func (c *consumer) accept(ctx context.Context, msg jetstream.Msg, t terms) {
	if ctx.Err() != nil || !c.worker.enter() {
		c.give(msg.Nak())
		return
	}
	go func() {
		defer c.worker.running.Done()
		c.process(msg, t)
	}()
}

// process does one task and settles its message.
func (c *consumer) process(msg jetstream.Msg, t terms) {
	meta, err := msg.Metadata()
	if err != nil {
		c.log.Error("queue sent something that is no task", "error", err)
		return
	}
	attempt := int(meta.NumDelivered)
	task, err := decodeTask(msg.Data())
	if task.ID == "" {
		task.ID = msg.Headers().Get(headerID)
	}
	if task.ID == "" {
		task.ID = fmt.Sprintf("%s-%d", meta.Stream, meta.Sequence.Stream)
	}
	task.Attempt = attempt
	result := Result{ID: task.ID, Status: StatusFailed, Permanent: true}
	if err != nil {
		result.Error = err.Error()
	} else {
		alive := c.keepAlive(msg, t.ackWait/3)
		result, err = c.worker.do(context.Background(), task)
		alive()
		if err != nil || result.Status == StatusFailed && c.worker.stop.Err() != nil {
			c.give(msg.Nak()) // not the task's fault: another instance may have it at once
			return
		}
	}
	last := t.maxDeliver > 0 && attempt >= t.maxDeliver
	c.settle(msg, meta, task, result, last)
}

// keepAlive tells the queue that the task is being worked on, until the
// function that it returns is called.
func (c *consumer) keepAlive(msg jetstream.Msg, every time.Duration) func() {
	ticker := time.NewTicker(max(every, 10*time.Millisecond))
	done := make(chan struct{})
	go func() {
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				c.give(msg.InProgress())
			case <-done:
				return
			}
		}
	}()
	return func() { close(done) }
}

// settle acknowledges the message, gives it back, or makes it a dead letter.
func (c *consumer) settle(msg jetstream.Msg, meta *jetstream.MsgMetadata, task Task, result Result, last bool) {
	ctx, cancel := context.WithTimeout(context.Background(), settleWait)
	defer cancel()
	event := Event{
		Type: "task.done", AgentID: c.env.ID, Instance: c.env.Instance, TaskID: task.ID, TaskType: task.Type,
		Attempt: task.Attempt, Result: result.Result, Error: result.Error, At: time.Now().UTC(),
	}
	switch {
	case result.Status == StatusDone:
		c.announce(ctx, event)
		c.give(msg.DoubleAck(ctx))
	case result.Permanent || last:
		event.Type = "task.dead"
		if err := c.deadLetter(ctx, msg, meta, result); err != nil {
			// The portal makes a dead letter of it when its deliveries are used up.
			c.log.Warn("queue did not take a dead letter", "task_id", task.ID, "error", err)
			c.give(msg.NakWithDelay(c.delay(task.Attempt)))
			return
		}
		c.announce(ctx, event)
		c.give(msg.TermWithReason(result.Error))
	default:
		event.Type = "task.failed"
		c.announce(ctx, event)
		c.give(msg.NakWithDelay(c.delay(task.Attempt)))
	}
}

func (c *consumer) delay(attempt int) time.Duration {
	return c.retry[min(max(attempt, 1), len(c.retry))-1]
}

// deadLetter copies the message before it is given up, because the queue
// deletes it then. The id is the one that the portal would use.
func (c *consumer) deadLetter(ctx context.Context, msg jetstream.Msg, meta *jetstream.MsgMetadata, result Result) error {
	dead := nats.NewMsg("dlq." + msg.Subject())
	dead.Data = msg.Data()
	reason := reasonMaxDeliveries
	if result.Permanent {
		reason = reasonPermanent
	}
	dead.Header.Set(headerID, result.ID)
	dead.Header.Set(headerReason, reason)
	dead.Header.Set(headerError, oneLine(result.Error, maxError))
	dead.Header.Set(headerDeliveries, strconv.FormatUint(meta.NumDelivered, 10))
	dead.Header.Set(headerSequence, strconv.FormatUint(meta.Sequence.Stream, 10))
	dead.Header.Set(headerTime, meta.Timestamp.UTC().Format(time.RFC3339Nano))
	_, err := c.js.PublishMsg(ctx, dead, jetstream.WithMsgID(fmt.Sprintf("dead.%s.%d", meta.Stream, meta.Sequence.Stream)))
	return err
}

// oneLine makes a text fit into a header.
func oneLine(s string, limit int) string {
	out := make([]rune, 0, len(s))
	for _, r := range s {
		if r < ' ' {
			r = ' '
		}
		out = append(out, r)
	}
	s = string(out)
	for len(s) > limit {
		out = out[:len(out)-1]
		s = string(out)
	}
	return s
}

func (c *consumer) announce(ctx context.Context, e Event) {
	if len(e.Result) > maxAnnounce {
		e.Result = nil
	}
	data, err := json.Marshal(e)
	if err == nil {
		_, err = c.js.Publish(ctx, "agent."+c.env.ID+".events", data)
	}
	if err != nil {
		c.log.Warn("queue did not take an event", "task_id", e.TaskID, "error", err)
	}
}

// give logs that a message could not be settled; it will come again then.
func (c *consumer) give(err error) {
	if err != nil {
		c.log.Warn("queue did not hear of the end of a task", "error", err)
	}
}

// close sends what is left and ends the connection.
func (c *consumer) close() {
	if c.nc.IsConnected() {
		c.give(c.nc.FlushTimeout(time.Second))
	}
	c.nc.Close()
}
