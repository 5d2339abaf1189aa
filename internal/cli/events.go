package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
)

// eventFilter are the flags that select events.
type eventFilter struct {
	rooms, types, agents []string
	actors               []string
	since, search        string
	until                moment
}

func eventsCommand(a *app) *cobra.Command {
	var follow bool
	var f eventFilter
	var limit int
	c := &cobra.Command{
		Use: "events", Short: "Show what happened, and with -f what happens", Args: cobra.NoArgs,
		Long: "Lists stored events, oldest first. With -f goes on with new ones as they happen; a lost connection is\n" +
			"made again and nothing in between is missed. With -o json each event is one line.",
		Example: "  portal events -f\n  portal events -f --room agent:wow-memory -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if follow {
				if len(f.actors) > 0 || f.search != "" || !f.until.at.IsZero() {
					return usagef("--actor, --search and --until select stored events; leave out -f")
				}
				rooms := f.rooms
				for _, agent := range f.agents {
					rooms = append(rooms, event.RoomAgent(agent))
				}
				return a.follow(cmd.Context(), c, follower{rooms: rooms, types: f.types, last: f.since})
			}
			raw, err := c.events(cmd.Context(), f, limit)
			if err != nil {
				return err
			}
			return a.showEvents(raw)
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new events until Ctrl-C")
	c.Flags().StringSliceVar(&f.rooms, "room", nil, "only these rooms: agents, operations, queues, agent:ID, operation:ID, bulk:ID (default all three)")
	c.Flags().StringSliceVar(&f.types, "type", nil, "only these types, e.g. agent:state_changed")
	c.Flags().StringSliceVar(&f.agents, "agent", nil, "only these agents")
	c.Flags().StringSliceVar(&f.actors, "actor", nil, "only those caused by these, e.g. system or 'user:*'")
	c.Flags().StringVarP(&f.search, "search", "q", "", "only those with this text in type, agent, actor or payload")
	c.Flags().Var(&f.until, "until", "only until then: an age as in 2h, a day, or a time")
	c.Flags().StringVar(&f.since, "since", "", "only events after the one with this id")
	c.Flags().IntVar(&limit, "limit", 100, "without -f: only the newest so many; 0 means all")
	return a.remote(c)
}

func (a *app) showEvents(raw []json.RawMessage) error {
	v := view{raw: raw, empty: "No events.", head: []string{"ID", "AT", "EVENT", "AGENT", "WHAT"}}
	for _, r := range raw {
		var e event.Event
		if err := json.Unmarshal(r, &e); err != nil {
			return err
		}
		id := fmt.Sprint(e.Seq)
		v.names = append(v.names, id)
		v.rows = append(v.rows, []string{id, stamp(e.At), string(e.Type), e.AgentID, eventText(e.Data)})
	}
	return a.show(v)
}

// eventText shows a payload on one line: its plain values, without the ones
// that stand in columns of their own.
func eventText(data json.RawMessage) string {
	var fields map[string]any
	if json.Unmarshal(data, &fields) != nil {
		return ""
	}
	if from, ok := fields["old_state"].(string); ok {
		text := fmt.Sprintf("%s → %v", from, fields["new_state"])
		if why, _ := fields["reason"].(string); why != "" {
			text += " (" + why + ")"
		}
		return text
	}
	var out []string
	for k, v := range fields {
		switch v := v.(type) {
		case map[string]any, []any, nil:
		default:
			if k != "agent_id" && k != "timestamp" && v != "" {
				out = append(out, k+"="+fmt.Sprint(v))
			}
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// follower reads the live stream and comes back after every loss.
type follower struct {
	rooms, types []string
	last         string // id of the last event that was shown
}

// message is one event of the live stream.
type message struct {
	ID    string          `json:"id"`
	Event string          `json:"event"`
	Data  json.RawMessage `json:"data"`
}

const (
	backoffFirst = 250 * time.Millisecond
	backoffMost  = 15 * time.Second
	// silence is how long a stream may say nothing, not even a heart-beat.
	silence = time.Minute
)

func (a *app) follow(ctx context.Context, c *conn, f follower) error {
	if len(f.rooms) == 0 {
		f.rooms = []string{event.RoomAgents, event.RoomOperations, event.RoomQueues}
	}
	wait, lost := backoffFirst, false
	for {
		heard := false
		err := c.stream(ctx, &f, func() {
			if lost {
				fmt.Fprintln(a.io.Err, "Connected again.")
			}
			heard, lost = true, false
		}, a.showMessage)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if kind := fault.KindOf(err); err != nil && kind != fault.Unavailable && kind != fault.RateLimited {
			return err
		}
		if heard {
			wait = backoffFirst
		} else if err != nil && !lost && f.last == "" {
			return err // it never worked
		}
		if !lost {
			fmt.Fprintln(a.io.Err, "Connection lost; trying again until Ctrl-C.")
		}
		lost = true
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
		wait = min(wait*2, backoffMost)
	}
}

func (a *app) showMessage(m message) {
	switch a.output {
	case "json", "yaml":
		line, err := json.Marshal(m)
		if err == nil {
			fmt.Fprintln(a.io.Out, escapeJSON(string(line)))
		}
		return
	case "name":
		fmt.Fprintln(a.io.Out, clean(m.ID))
		return
	}
	if m.Event == "reset" {
		a.warn("some events are not kept any more and were missed")
		return
	}
	var head struct {
		AgentID   string    `json:"agent_id"`
		Timestamp time.Time `json:"timestamp"`
	}
	_ = json.Unmarshal(m.Data, &head) // other payloads have no such fields
	fmt.Fprintln(a.io.Out, clean(strings.Join(slices.DeleteFunc([]string{stamp(head.Timestamp), m.Event, head.AgentID, eventText(m.Data)},
		func(s string) bool { return s == "" }), "  ")))
}

// stream reads one connection until it ends.
func (c *conn) stream(ctx context.Context, f *follower, connected func(), show func(message)) error {
	user := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watchdog := time.AfterFunc(silence, cancel)
	defer watchdog.Stop()
	q := url.Values{"rooms": {strings.Join(f.rooms, ",")}}
	if f.last != "" {
		q.Set("since", f.last)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.server+"/api/platform/live/sse?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "text/event-stream")
	if err := c.edit(ctx, r); err != nil {
		return err
	}
	answer, err := c.http.Do(r)
	if err != nil {
		if user.Err() == nil && ctx.Err() != nil {
			err = context.DeadlineExceeded // the watchdog's doing, not the user's
		}
		return c.unreachable(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
		return c.problem(answer, body)
	}
	connected()
	return readStream(answer.Body, func() { watchdog.Reset(silence) }, func(id, data string) {
		if id != "" {
			f.last = id
		}
		var m message
		if data == "" || json.Unmarshal([]byte(data), &m) != nil || m.Event == "heartbeat" {
			return // nothing that a person or a script could use
		}
		if len(f.types) == 0 || slices.Contains(f.types, m.Event) {
			show(m)
		}
	})
}

// maxMessage bounds one event of a stream.
const maxMessage = 4 << 20

// readStream reads server-sent events. alive is called for each line, also of
// comments; each for every event that carries an id or data.
func readStream(in io.Reader, alive func(), each func(id, data string)) error {
	sc := bufio.NewScanner(in)
	sc.Buffer(make([]byte, 64<<10), maxMessage)
	var id string
	var data []string
	for sc.Scan() {
		alive()
		line := sc.Text()
		if line == "" {
			if id != "" || len(data) > 0 {
				each(id, strings.Join(data, "\n"))
			}
			id, data = "", nil
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "id":
			id = value
		case "data":
			data = append(data, value)
		}
	}
	if err := sc.Err(); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fault.New(fault.Unavailable, "cli.stream", "The stream broke off").Because("%v", err).Wrap(err)
	}
	return nil
}
